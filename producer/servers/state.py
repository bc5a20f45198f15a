"""What is kept about the embedded servers between commands: ports and passwords, and the lock on changing them.

No process id is kept here: each server writes its own, and `producer.servers.processes.find` checks it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from producer.servers.endpoint import Endpoint
from producer.servers.processes import POLL
from schemas.errors import ConfigurationError, ServerUnavailable

LOCK_WAIT = 120.0  # seconds: another process may be making the first database on a slow disk


class State(BaseModel):
    """The content of `servers.json`; `None` for a server that was never started."""

    model_config = ConfigDict(frozen=True)

    postgres: Endpoint | None = None
    broker: Endpoint | None = None


class StateFile:
    """`home/run/servers.json`, readable by its owner only and replaced whole, so a reader never sees half of it."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "run"
        self._path = self._folder / "servers.json"

    def load(self) -> State:
        """What is known; nothing where the file is missing or damaged, in which case new passwords are made."""
        try:
            return State.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return State()

    def save(self, *, postgres: Endpoint | None = None, broker: Endpoint | None = None) -> None:
        """Replace the endpoints given and keep the other. Call it under `lock` only."""
        known = self.load()
        content = State(postgres=postgres or known.postgres, broker=broker or known.broker)
        fresh = self._path.with_suffix(".new")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123
            file.write(content.model_dump_json(indent=2))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let one process at a time start or stop servers. The lock goes with its holder, however that ends.

        Raises:
            ConfigurationError: the file system of `home` has no locks.
            ServerUnavailable: another process held the lock for two minutes.
        """
        path = self._folder / "servers.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # not inheritable, so no server keeps it locked
        try:
            deadline = time.monotonic() + LOCK_WAIT
            while not try_lock(descriptor, path):
                if time.monotonic() > deadline:
                    raise ServerUnavailable(f"another process has been starting or stopping servers for long: {path}")
                time.sleep(POLL)
            yield
        finally:
            os.close(descriptor)


def try_lock(descriptor: int, path: Path) -> bool:
    """Take the lock of an open file if nobody holds it; `path` only names it in an error.

    Raises:
        ConfigurationError: the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as fault:
        raise ConfigurationError(
            f"{path}: this file system cannot lock files ({fault.strerror}); set SCIQUEUE_HOME to a local folder"
        ) from fault
    return True
