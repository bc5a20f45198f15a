"""A child process that is started again whenever it ends, with longer pauses the more often it dies."""

from __future__ import annotations

import logging
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

BACK_OFF = (0.0, 0.5, 1.0, 2.0, 5.0)  # seconds before the next start, by deaths in a row
HEALTHY_AFTER = 30.0  # seconds of life that forgive earlier deaths


@dataclass(frozen=True, slots=True)
class Death:
    """A process that ended by itself. `status` is as `subprocess` has it: below zero for a signal."""

    pid: int
    status: int
    lived: float

    @property
    def how(self) -> str:
        """How it ended, in words."""
        return f"signal {signal.Signals(-self.status).name}" if self.status < 0 else f"exit status {self.status}"


class KeptAlive:
    """Call `look` a few times a second. `rest` and `go_on` may be called in turn, and `end` when it is enough."""

    def __init__(
        self,
        name: str,
        start: Callable[[], subprocess.Popen[bytes]],
        on_death: Callable[[Death], None] = lambda death: None,
    ) -> None:
        """`start` starts the process; `on_death` is told when it has ended by itself."""
        self.name = name
        self._start = start
        self._on_death = on_death
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._start_at = 0.0
        self._deaths = 0
        self._resting = False
        self._asked = False  # the process that runs was asked to stop
        self._kill_at = 0.0

    def look(self) -> None:
        """Start the process if it is time to, notice that it has ended, and kill it if it takes too long to stop."""
        now = time.monotonic()
        if self._process is None:
            if not self._resting and now >= self._start_at:
                self._process = self._start()
                self._started, self._asked = now, False
            return
        status = self._process.poll()
        if status is None:
            if self._asked and now > self._kill_at:
                self._kill()
            return
        if not (self._asked and status == 0):
            self._died(Death(self._process.pid, status, now - self._started))
        self._process = None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def resting(self) -> bool:
        """Whether the process is not to run, though it may still be about to stop."""
        return self._resting

    def rest(self, seconds: float) -> None:
        """Have the process stop within that time, and not start again until `go_on`."""
        self._resting = True
        if self._process is not None and not self._asked:
            self._kill_at = time.monotonic() + seconds
            self.terminate()

    def go_on(self) -> None:
        """Have the process run, at once and with its earlier deaths forgotten if it rested."""
        if self._resting:
            self._resting = False
            self._deaths, self._start_at = 0, 0.0

    def terminate(self) -> None:
        """Ask the process to stop; a worker that is asked twice stops at once."""
        if self._process is not None:
            self._asked = True
            self._process.terminate()

    def end(self, seconds: float) -> None:
        """Have the process stop for good, and wait for that; it is killed when it has not within that time."""
        self.rest(seconds)
        if self._process is None:
            return
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()
        self._process = None

    def _died(self, death: Death) -> None:
        self._deaths = 1 if death.lived > HEALTHY_AFTER else self._deaths + 1
        pause = BACK_OFF[min(self._deaths, len(BACK_OFF)) - 1]
        self._start_at = time.monotonic() + pause
        then = "it is not wanted any more" if self._resting else f"next start in {pause:.1f} s"
        log.warning("%s ended (%s) after %.0f s; %s", self.name, death.how, death.lived, then)
        self._on_death(death)

    def _kill(self) -> None:
        if self._process is not None:
            log.warning("%s did not stop in time: killed", self.name)
            self._process.kill()
            self._kill_at = float("inf")
