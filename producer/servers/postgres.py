"""The embedded PostgreSQL as a running server: on loopback only, by password only, over a data folder of its own."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil

from producer.servers import cluster
from producer.servers.endpoint import Endpoint, on_its_port
from producer.servers.health import ask_postgres
from producer.servers.processes import (
    DEADLINE,
    POLL,
    alive,
    await_ready,
    ended,
    find,
    kill_all_in,
    last_words,
    launch,
    log_end,
)
from producer.servers.state import StateFile, try_lock
from schemas.errors import ConfigurationError, ServerUnavailable

_ORPHAN_GRACE = 2.0  # seconds; a killed server's children notice and leave by themselves, but not in a long query

# Given at every start, so that no edit of a file opens the server or weakens its promise to keep what is committed.
_FIXED = (
    "--listen_addresses=127.0.0.1",
    "--unix_socket_directories=",
    "--logging_collector=off",
    "--fsync=on",
    "--full_page_writes=on",
    "--synchronous_commit=on",
    f"--recovery_init_sync_method={cluster.SYNC_METHOD}",
)


class PostgresServer:
    """One PostgreSQL below `home`: role and database `sciqueue`, data in `home/postgres`."""

    def __init__(self, home: Path, state: StateFile) -> None:
        self.folder = home / "postgres"
        self.log = home / "logs" / "postgres.log"
        self._pid_file = self.folder / "postmaster.pid"
        self._state = state

    def process(self) -> psutil.Process | None:
        """The running postmaster, started by whichever process, or `None`."""
        return find(self._pid_file, self.folder)

    def url(self) -> str | None:
        """Where the server is, or was when it last ran; `None` before its first start."""
        endpoint = self._state.load().postgres
        if endpoint is None:
            return None
        return f"postgresql://sciqueue:{endpoint.password}@127.0.0.1:{endpoint.port}/sciqueue"

    def running(self) -> bool:
        """Whether the server lives and answers to our password now."""
        process = self.process()
        try:
            return process is not None and self._answers(process)
        except ConfigurationError:
            return False

    def start(self) -> None:
        """Make the database at the first call, and have the server running. Call it under the state's lock.

        Raises:
            ConfigurationError: PostgreSQL cannot be run in this installation, by this user or in this folder.
            ServerUnavailable: it did not come up; the message holds the log's most telling line.
        """
        process, endpoint = self.process(), self._state.load().postgres
        if process is not None and endpoint is not None:
            await_ready(process, self._answers, self.log, log_end(self.log))
            return
        programs = cluster.Programs.found()
        self.stop()  # one whose password is lost; a new one can only be set while it is down
        if not self.folder.exists():
            endpoint = Endpoint.fresh()
            self._state.save(postgres=endpoint)
            cluster.create(programs, self.folder, endpoint.password, self.log)
        cluster.check_version(self.folder)
        descriptor = self._sole_use()
        if descriptor is None:
            self.start()
            return
        try:
            if endpoint is None:
                endpoint = Endpoint.fresh()
                cluster.set_password(programs, self.folder, endpoint.password, self.log)
            # Nobody uses the folder, so what is left here is stale. PostgreSQL itself would refuse to start if a
            # stranger had been given the process id in it.
            self._pid_file.unlink(missing_ok=True)
            self._launch(programs, endpoint, descriptor)
        finally:
            os.close(descriptor)

    def stop(self) -> None:
        """Shut down fast: sessions end, everything is written. Nothing happens if the server does not run.

        Raises:
            ServerUnavailable: it would not end.
        """
        process = self.process()
        if process is None:
            return
        begin = log_end(self.log)
        for order in (signal.SIGINT, signal.SIGQUIT):  # the second ends at once and leaves recovery to the next start
            if alive(process):
                process.send_signal(order)
            if ended(process, DEADLINE):
                return
        raise ServerUnavailable(f"PostgreSQL (process {process.pid}) does not end: {last_words(self.log, begin)}")

    def _answers(self, _process: psutil.Process) -> bool:
        # The password's proof is mutual: a stranger on our port can neither answer nor learn the password.
        url = self.url()
        return url is not None and self._ready() and ask_postgres(url) is None

    def _ready(self) -> bool:
        """Whether the server says that it accepts sessions; asking before would fill its log with refusals."""
        try:
            return self._pid_file.read_text().rstrip().endswith("ready")
        except OSError:
            return False

    def _launch(self, programs: cluster.Programs, endpoint: Endpoint, descriptor: int) -> None:
        def attempt(endpoint: Endpoint) -> None:
            self._state.save(postgres=endpoint)  # first, so that the server is found even if we are killed now
            launch(
                programs.command("postgres", "-D", self.folder, f"--port={endpoint.port}", *_FIXED),
                folder=self.folder,
                log=self.log,
                ready=self._answers,
                inherit=[descriptor],
            )

        on_its_port(endpoint, attempt, self.process)

    def _sole_use(self) -> int | None:
        """The descriptor of a lock that says: nobody uses the data folder. The server is to inherit it.

        Its children inherit it too, so it stays taken until the last of them is gone, and is seen by another
        container or machine that shares the folder; PostgreSQL's own check is blind to both. The answer is `None` if
        a server turns up meanwhile, left by a start that was killed half-way.
        """
        path = self.folder / "sciqueue.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        begin, taken = time.monotonic(), False
        try:
            while not (taken := try_lock(descriptor, path)):
                waited = time.monotonic() - begin
                if self.process() is not None:
                    return None
                if waited > DEADLINE:
                    raise ConfigurationError(
                        f"{self.folder} is in use, it seems by another machine or container: "
                        "stop the servers there, or set SCIQUEUE_HOME to another folder"
                    )
                if waited > _ORPHAN_GRACE:
                    kill_all_in(self.folder)  # safe: without their postmaster they can accept no work
                time.sleep(POLL)
        finally:
            if not taken:
                os.close(descriptor)
        return descriptor
