"""A process that is kept alive: real processes that end, are killed, or will not stop."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

from schemas.keepalive import Death, KeptAlive

OBEDIENT = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); print(flush=True); time.sleep(60)"
)
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"


class Watched:
    """A kept-alive process, with those that were started and the deaths that were told."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.started: list[subprocess.Popen[bytes]] = []
        self.deaths: list[Death] = []
        self.kept = KeptAlive("it", self._start, self.deaths.append)

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", self.program], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()  # it is ready for signals
        self.started.append(process)
        return process

    def until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20.0
        while not ready():
            assert time.monotonic() < deadline
            self.kept.look()
            time.sleep(0.01)


def test_it_is_started_again_and_its_deaths_are_told() -> None:
    watched = Watched(OBEDIENT)
    watched.kept.look()
    watched.started[0].kill()
    watched.until(lambda: len(watched.started) == 2)
    assert [(death.pid, death.how) for death in watched.deaths] == [(watched.started[0].pid, "signal SIGKILL")]
    watched.kept.end(10.0)
    assert watched.started[1].returncode == 0


def test_one_that_rests_stops_without_a_death_and_runs_again_when_it_goes_on() -> None:
    watched = Watched(OBEDIENT)
    watched.kept.look()
    watched.kept.rest(10.0)
    watched.until(lambda: not watched.kept.alive)
    for _ in range(3):
        watched.kept.look()
    assert len(watched.started) == 1
    watched.kept.go_on()
    watched.kept.look()
    assert len(watched.started) == 2
    assert watched.deaths == []
    watched.kept.end(10.0)


def test_one_that_goes_on_while_it_still_stops_is_started_once_it_has() -> None:
    watched = Watched(OBEDIENT)
    watched.kept.look()
    watched.kept.rest(10.0)
    watched.kept.go_on()
    watched.until(lambda: len(watched.started) == 2)
    assert watched.started[0].returncode == 0
    assert watched.deaths == []
    watched.kept.end(10.0)


def test_one_that_will_not_stop_is_killed() -> None:
    watched = Watched(STUBBORN)
    watched.kept.look()
    watched.kept.rest(0.2)
    watched.until(lambda: not watched.kept.alive)
    watched.kept.look()
    assert [death.how for death in watched.deaths] == ["signal SIGKILL"]
    assert len(watched.started) == 1
