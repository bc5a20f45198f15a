"""The stack that `sciqueue up` leaves running: servers (unless a lab's own are set), dispatcher, workers and Flower.

One process looks after all of them and starts again whatever dies: `python -m producer.stack`. It is found by a file
lock, which no kill can leave behind.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from producer.servers.embedded import EmbeddedServers
from producer.servers.endpoint import free_port, is_free
from schemas.endpoints import find_servers
from schemas.errors import SciqueueError
from schemas.keepalive import KeptAlive
from schemas.logs import set_up
from schemas.settings import Settings, load_settings

log = logging.getLogger(__name__)

POLL = 0.3  # seconds
GRACE = 15.0  # seconds beyond the drain, until a part that is asked to stop is killed
FLOWER_PORT = 5555


@dataclass(frozen=True)
class StackInfo:
    """What other commands need to know of a running stack; kept in `run/stack.json`, readable by its owner only."""

    pid: int
    flower_port: int
    flower_auth: str  # user:password, or empty

    @property
    def flower_url(self) -> str:
        """Flower's address for a browser."""
        return f"http://127.0.0.1:{self.flower_port}"


class StackFile:
    """The lock and the description of the stack of one home folder."""

    def __init__(self, settings: Settings) -> None:
        self._info = settings.run_dir / "stack.json"
        self._lock = settings.run_dir / "stack.lock"

    def running(self) -> StackInfo | None:
        """The stack that runs now, or None."""
        try:
            with self._lock.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: those who ask do not meet each other
                return None
        except FileNotFoundError:
            return None
        except BlockingIOError:
            try:
                return StackInfo(**json.loads(self._info.read_text()))
            except (OSError, ValueError):
                return None  # it has only just begun

    def hold(self, info: StackInfo) -> int:
        """Become the stack: lock, and leave the description. The lock ends with this process, or by closing it.

        Raises:
            BlockingIOError: another stack runs.
        """
        self._lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self._lock_alone(descriptor)
        self._info.unlink(missing_ok=True)  # of one that was killed
        temporary = self._info.with_suffix(".new")
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(asdict(info)))
        temporary.replace(self._info)
        return descriptor

    def release(self, descriptor: int) -> None:
        """Stop being the stack."""
        self._info.unlink(missing_ok=True)
        os.close(descriptor)

    @staticmethod
    def _lock_alone(descriptor: int) -> None:
        """Lock, allowing for somebody who is just asking whether a stack runs."""
        for _ in range(20):
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(0.05)
        os.close(descriptor)
        raise BlockingIOError


class Stack:
    """Call `run` in the main thread; SIGTERM ends it in order: workers, dispatcher, Flower, servers."""

    def __init__(self, settings: Settings, info: StackInfo, device: str) -> None:
        self._settings = settings
        self._servers = EmbeddedServers(settings.home)
        command = (sys.executable, "-m", "schemas.command")
        parent = ("--parent", str(os.getpid()))
        flower = (sys.executable, "-m", "producer.flower", "--port", str(info.flower_port), *parent)
        self._parts = [
            self._part("worker", (*command, "worker", "--device", device, *parent)),
            self._part("dispatcher", (*command, "dispatch", *parent)),
            self._part("flower", flower, stdin=info.flower_auth),
        ]
        self._stop = threading.Event()

    def run(self) -> None:
        """Keep everything alive until told to stop."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._on_signal)
        from schemas.migrate import migrate

        self._start_servers()
        migrate(find_servers(self._settings).database_url)
        while not self._stop.wait(POLL):
            try:
                self._start_servers_again()
            except SciqueueError as fault:
                log.error("%s", fault)
            for part in self._parts:
                part.look()
        for part in self._parts:
            part.end(self._settings.drain_seconds + GRACE)
        if self._settings.database_url is None or self._settings.broker_url is None:
            self._servers.stop()

    def _start_servers(self) -> None:
        """Have the embedded servers running and answering where the lab has set none of its own."""
        if self._settings.database_url is None:
            self._servers.start_postgres()
        if self._settings.broker_url is None:
            self._servers.start_broker()

    def _start_servers_again(self) -> None:
        """Start those that have ended. Only their processes are looked for: to log in costs both sides far more."""
        if self._settings.database_url is None and self._servers.postgres.process() is None:
            self._servers.start_postgres()
        if self._settings.broker_url is None and self._servers.broker.process() is None:
            self._servers.start_broker()

    def _on_signal(self, _: int, __: FrameType | None) -> None:
        self._stop.set()

    def _part(self, name: str, command: Sequence[str], stdin: str = "") -> KeptAlive:
        return KeptAlive(f"the {name}", lambda: self._start(name, command, stdin))

    def _start(self, name: str, command: Sequence[str], stdin: str) -> subprocess.Popen[bytes]:
        """Start a part with its own log; a secret reaches it by standard input, where no process list shows it."""
        with log_file(self._settings, name).open("a") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
            )
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        with suppress(BrokenPipeError), process.stdin as pipe:  # it ended at once: seen at the next look
            pipe.write(f"{stdin}\n".encode())
        return process


def log_file(settings: Settings, name: str) -> Path:
    """Where a part of the stack writes its log."""
    folder = settings.home / "logs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{name}.log"


def new_info(settings: Settings) -> StackInfo:
    """The description of a stack in this process: Flower's port, and its password as set or a new one."""
    wanted = settings.flower_auth.get_secret_value() if settings.flower_auth else None
    auth = {"off": "", None: f"sciqueue:{secrets.token_urlsafe(12)}"}.get(wanted, wanted or "")
    return StackInfo(os.getpid(), FLOWER_PORT if is_free(FLOWER_PORT) else free_port(), auth)


def main() -> None:
    """Run the stack of this home folder, unless one runs already."""
    arguments = argparse.ArgumentParser(prog="producer.stack")
    arguments.add_argument("--device", required=True)
    options = arguments.parse_args()
    settings = load_settings()
    set_up("stack", settings.log_format)
    info = new_info(settings)
    file = StackFile(settings)
    try:
        descriptor = file.hold(info)
    except BlockingIOError:
        log.info("another stack runs already")
        return
    try:
        Stack(settings, info, options.device).run()
    except SciqueueError as fault:
        log.error("%s", fault)
        sys.exit(fault.exit_code)
    finally:
        file.release(descriptor)


if __name__ == "__main__":
    main()
