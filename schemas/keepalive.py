"""A child process that is started again whenever it ends, with longer pauses the more often it dies."""

from __future__ import annotations

import logging
import signal
import subprocess
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

BACK_OFF = (0.0, 0.5, 1.0, 2.0, 5.0)  # seconds before the next start, by deaths in a row
HEALTHY_AFTER = 30.0  # seconds of life that forgive earlier deaths


class KeptAlive:
    """Call `look` a few times a second, and `end` when it is enough."""

    def __init__(
        self,
        name: str,
        start: Callable[[], subprocess.Popen[bytes]],
        on_death: Callable[[int], None] = lambda pid: None,
    ) -> None:
        """`start` starts the process; `on_death` is told the id of one that ended by itself."""
        self.name = name
        self._start = start
        self._on_death = on_death
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._start_at = 0.0
        self._deaths = 0
        self._asked = False

    def look(self) -> None:
        """Start the process if it is time to, and notice that it has ended."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._start_at:
                self._process = self._start()
                self._started = now
            return
        status = self._process.poll()
        if status is None:
            return
        lived = now - self._started
        self._deaths = 1 if lived > HEALTHY_AFTER else self._deaths + 1
        pause = BACK_OFF[min(self._deaths, len(BACK_OFF)) - 1]
        log.warning("%s ended (%s) after %.0f s; next start in %.1f s", self.name, _why(status), lived, pause)
        self._on_death(self._process.pid)
        self._process = None
        self._start_at = now + pause

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def terminate(self) -> None:
        """Ask the process to stop; a worker that is asked twice stops at once."""
        if self._process is not None:
            self._asked = True
            self._process.terminate()

    def end(self, seconds: float) -> None:
        """Ask the process to stop unless that was done, and kill it when it has not within that time."""
        if self._process is None:
            return
        if not self._asked:
            self.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            log.warning("%s did not stop within %.0f s: killed", self.name, seconds)
            self._process.kill()
            self._process.wait()
        self._process = None


def _why(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
