"""Server processes: start them detached, find them again from any other process, see them end."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from schemas.errors import ServerUnavailable

DEADLINE = 20.0  # seconds that a server gets to start, to answer or to end
POLL = 0.03  # seconds between two looks

_LOG_LIMIT = 16 * 2**20  # bytes; a longer log is set aside at the next start
_TELLING = ("fatal", "panic", "error", "could not", "failed")
# The shell leaves at once, so the server belongs to init: whoever started it need not wait for it, and it leaves no
# zombie whose process id would look alive. `unshare` replaces itself, so the id is the server's own.
_DETACH = '"$@" >&2 & echo $!'


def find(pid_file: Path, folder: Path) -> psutil.Process | None:
    """The living server that wrote `pid_file`, or `None`.

    A process id alone may have passed to a stranger after a kill or a reboot. A server works in its own private
    folder, so a process that does not is not ours; the answer also remembers its time of creation, and psutil refuses
    to signal another process that has since taken over its id.
    """
    try:
        process = psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))
        ours = process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(folder)
    except (OSError, ValueError, psutil.Error):
        return None
    return process if ours else None


def alive(process: psutil.Process) -> bool:
    """Whether this very process still runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ended(process: psutil.Process, seconds: float) -> bool:
    """Wait for the end of a process that need not be a child; whether it came within `seconds`."""
    deadline = time.monotonic() + seconds
    while alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def kill_all_in(folder: Path) -> None:
    """Kill what still works in a server's private folder: the children that a killed server left behind."""
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder):
                process.kill()
        except (OSError, psutil.Error):
            continue  # ended meanwhile, or belongs to somebody else


def launch(
    command: Sequence[str | Path],
    *,
    folder: Path,
    log: Path,
    ready: Callable[[psutil.Process], bool],
    inherit: Sequence[int] = (),
) -> None:
    """Start a server in a session of its own, writing to `log`, and return when `ready` says so.

    A server that lives but is not ready in time is left running: it may be recovering.

    Raises:
        ServerUnavailable: it ended, or was not ready within `DEADLINE`.
    """
    begin = log_end(log)
    with appending(log) as output:
        shell = subprocess.run(
            ["/bin/sh", "-c", _DETACH, "sh", *command],
            cwd=folder,
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            umask=0o077,
            start_new_session=True,
            pass_fds=inherit,
            timeout=DEADLINE,
            check=True,
        )
    try:
        process = psutil.Process(int(shell.stdout))
    except psutil.NoSuchProcess:
        raise ServerUnavailable(f"{log.stem} ended at its start: {last_words(log, begin)}") from None
    await_ready(process, ready, log, begin)


def await_ready(process: psutil.Process, ready: Callable[[psutil.Process], bool], log: Path, begin: int) -> None:
    """Wait for a server to be ready; `begin` is where its log began to be of interest, in bytes.

    Raises:
        ServerUnavailable: it ended, or was not ready within `DEADLINE`.
    """
    deadline = time.monotonic() + DEADLINE
    while not ready(process):
        if not alive(process):
            raise ServerUnavailable(f"{log.stem} ended at its start: {last_words(log, begin)}")
        if time.monotonic() > deadline:
            raise ServerUnavailable(
                f"{log.stem} (process {process.pid}) runs but gave no answer within {DEADLINE:.0f} s: "
                f"{last_words(log, begin)}"
            )
        time.sleep(POLL)


def child_environment() -> dict[str, str]:
    """The whole environment of a server: nothing of the user's, so no setting or secret leaks in."""
    return {"PATH": os.defpath, "LC_ALL": "C"}


@contextmanager
def appending(log: Path) -> Iterator[int]:
    """The log's descriptor for a server's output; an old log past 16 MiB is set aside first."""
    if log_end(log) > _LOG_LIMIT:
        log.replace(log.with_suffix(".old.log"))
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def log_end(log: Path) -> int:
    """Where the log ends now, in bytes."""
    return log.stat().st_size if log.exists() else 0


def last_words(log: Path, begin: int) -> str:
    """The line written after `begin` that best tells what went wrong, and the log's path."""
    with log.open("rb") as file:
        file.seek(begin if begin <= log_end(log) else 0)
        lines = [line.strip() for line in file.read(2**20).decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line.lower() for word in _TELLING)]
    line = (telling or lines or ["it wrote nothing"])[-1]
    return f"{line} (see {log})"
