"""The embedded servers as commands see them: start, find again, stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from producer.servers.postgres import PostgresServer
from producer.servers.state import StateFile
from producer.servers.valkey import ValkeyServer
from schemas.endpoints import ServerUrls
from schemas.errors import ConfigurationError, ServerUnavailable


class EmbeddedServers:
    """A private PostgreSQL and a private broker below `home`, shared by all processes that are given the same folder.

    They outlive the process that starts them. Every method may be called from any process at any time and again.
    """

    def __init__(self, home: Path) -> None:
        """Nothing is touched before the first start.

        Args:
            home: the folder for data, logs and passwords; made, open to its owner only, if it does not exist.
        """
        self._home = home.expanduser().resolve()
        self._state = StateFile(self._home)
        self.postgres = PostgresServer(self._home, self._state)
        self.broker = ValkeyServer(self._home, self._state)

    def start(self) -> ServerUrls:
        """Have both servers running and answering; only what is missing is started, where it was before.

        Raises:
            ConfigurationError: this system, user or folder does not allow it; the message says what to do.
            ServerUnavailable: a server did not come up; the message names the log.
        """
        return ServerUrls(database_url=self.start_postgres(), broker_url=self.start_broker())

    def start_postgres(self) -> str:
        """Have PostgreSQL running, and return its URL. Raises as `start` does."""
        with self._alone():
            self.postgres.start()
            return _known(self.postgres.url())

    def start_broker(self) -> str:
        """Have the broker running, and return its URL. Raises as `start` does."""
        with self._alone():
            self.broker.start()
            return _known(self.broker.url())

    def running(self) -> ServerUrls | None:
        """The URLs if both servers live and answer at this moment, else `None`."""
        if not (self.postgres.running() and self.broker.running()):
            return None
        return ServerUrls(database_url=_known(self.postgres.url()), broker_url=_known(self.broker.url()))

    def stop(self) -> None:
        """Stop what runs, PostgreSQL first. The data stay, and so do ports and passwords for the next start.

        Raises:
            ServerUnavailable: a server would not end.
        """
        if not self._home.exists():
            return
        with self._alone():
            try:
                self.postgres.stop()
            finally:
                self.broker.stop()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Make the folders, and keep other processes from changing the servers meanwhile."""
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("run", "logs"):
                folder = self._home / name
                folder.mkdir(mode=0o700, exist_ok=True)
                folder.chmod(0o700)
        except OSError as fault:
            raise ConfigurationError(
                f"{self._home} cannot be used ({fault.strerror}): set SCIQUEUE_HOME to a folder of yours"
            ) from fault
        with self._state.lock():
            yield


def _known(url: str | None) -> str:
    """The URL of a server that was just seen; it can only be missing if its state file was taken away meanwhile."""
    if url is None:
        raise ServerUnavailable("the embedded servers' state file vanished while they were looked up: start them again")
    return url
