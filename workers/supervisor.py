"""Keeps one worker process a device alive: starts it pinned, starts it again when it ends, stops it in order.

Celery's threads pool ends on some broker faults, a wedged device ends its process on purpose, and a segmentation
fault ends it without asking: in each case the supervisor reports the death, so that the batches return at once.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

from schemas.database import Database
from schemas.errors import ServerUnavailable
from schemas.items import Task
from schemas.ledger import leases
from schemas.settings import Settings
from workers.devices import Device, threads_per_process

log = logging.getLogger(__name__)

POLL = 0.2  # seconds
BACK_OFF = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before the next start, by deaths in a row
HEALTHY_AFTER = 60.0  # seconds of life that forgive earlier deaths


class _Child:
    """One device's process and its history."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.deaths = 0
        self.start_at = 0.0


class Supervisor:
    """Call `run` in the main thread; SIGTERM or SIGINT end it."""

    def __init__(self, devices: Sequence[Device], tasks: Sequence[Task], settings: Settings, database_url: str) -> None:
        self._children = [_Child(device) for device in devices]
        self._tasks = tasks
        self._settings = settings
        self._threads = threads_per_process(len(devices), settings.torch_threads)
        self._database = Database(database_url, size=1, timeout=2.0)
        self._stop = threading.Event()

    def run(self) -> None:
        """Supervise until a signal, then stop the processes within the drain's bound."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._on_signal)
        while not self._stop.wait(POLL):
            for child in self._children:
                self._look_after(child)
        self._stop_children()
        self._database.close()

    def _on_signal(self, signum: int, _: FrameType | None) -> None:
        log.info("%s: stopping the workers", signal.Signals(signum).name)
        self._stop.set()

    def _look_after(self, child: _Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.start_at:
                self._start(child)
            return
        status = child.process.poll()
        if status is None:
            return
        lived = now - child.started
        child.deaths = 1 if lived > HEALTHY_AFTER else child.deaths + 1
        pause = BACK_OFF[min(child.deaths - 1, len(BACK_OFF) - 1)]
        log.warning("%s ended (%s) after %.0f s; next start in %.0f s", child.device.name, _why(status), lived, pause)
        self._report_death(child.device.name, child.process.pid)
        child.process = None
        child.start_at = now + pause

    def _start(self, child: _Child) -> None:
        child.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "workers.process"),
                *("--name", child.device.name, "--device", child.device.torch),
                *("--tasks", ",".join(self._tasks)),
                *("--parent", str(os.getpid())),
            ],
            # OMP_NUM_THREADS is what torch takes its number of threads from.
            env={**os.environ, **child.device.environment, "OMP_NUM_THREADS": str(self._threads)},
            stdin=subprocess.DEVNULL,
        )
        child.started = time.monotonic()

    def _report_death(self, worker: str, pid: int) -> None:
        try:
            leases.report_death(self._database, worker, pid)
        except ServerUnavailable:
            log.warning("the lease of %s lapses by itself: PostgreSQL is away", worker)

    def _stop_children(self) -> None:
        alive = [child.process for child in self._children if child.process is not None]
        for process in alive:
            process.terminate()
        deadline = time.monotonic() + self._settings.drain_seconds + 10.0
        for process in alive:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("process %d did not stop in time: killed", process.pid)
                process.kill()
                process.wait()


def _why(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
