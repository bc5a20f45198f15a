"""Keeps one worker process a device alive, and one for suspects: starts, starts again, stops in order.

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
from schemas.items import INFERENCE, SUSPECTS, Task
from schemas.keepalive import KeptAlive
from schemas.ledger import leases
from schemas.settings import Settings
from workers.devices import Device, thread_environment, threads_per_process

log = logging.getLogger(__name__)

POLL = 0.2  # seconds
SAME_SIGNAL = 1.0  # seconds in which signals count as one
GRACE = 10.0  # seconds beyond the drain, until a process that is asked to stop is killed


class Supervisor:
    """Call `run` in the main thread; SIGTERM or SIGINT end it once the batches in hand are done, a second at once."""

    def __init__(self, devices: Sequence[Device], tasks: Sequence[Task], settings: Settings, database_url: str) -> None:
        self._settings = settings
        self._threads = threads_per_process(len(devices), settings.torch_threads)
        self._database = Database(database_url, size=1, timeout=2.0)
        kinds: list[tuple[str, Device, list[str], int]] = []
        if queues := [task.queue for task in tasks if task in INFERENCE]:
            kinds += [(device.name, device, queues, settings.slots) for device in devices]
            # What was running when a process died is run again alone, away from the innocent: see CONTRIBUTING.md.
            kinds.append((f"suspects-{devices[0].name}", devices[0], [SUSPECTS], 1))
        if Task.TRAIN in tasks:  # one run at a time on each device
            kinds += [(f"train-{device.name}", device, [Task.TRAIN.queue], 1) for device in devices]
        self._workers = [self._kept_alive(place, *kind) for place, kind in enumerate(kinds)]
        self._stop = threading.Event()
        self._at_once = threading.Event()
        self._asked = 0.0

    def run(self) -> None:
        """Supervise until a signal, then stop the processes within the drain's bound."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._on_signal)
        while not self._stop.wait(POLL):
            for worker in self._workers:
                worker.look()
        deadline = time.monotonic() + self._settings.drain_seconds + GRACE
        for worker in self._workers:
            worker.terminate()
        while not self._at_once.wait(POLL) and time.monotonic() < deadline:
            if not any(worker.alive for worker in self._workers):
                break
        if self._at_once.is_set():
            for worker in self._workers:
                worker.terminate()
        for worker in self._workers:
            worker.end(max(0.0, deadline - time.monotonic()))
        self._database.close()

    def _on_signal(self, signum: int, _: FrameType | None) -> None:
        if not self._stop.is_set():
            log.info("%s: stopping the workers once their batches are done", signal.Signals(signum).name)
            self._asked = time.monotonic()
            self._stop.set()
        elif time.monotonic() - self._asked > SAME_SIGNAL:
            log.info("%s again: stopping the workers at once", signal.Signals(signum).name)
            self._at_once.set()

    def _kept_alive(self, place: int, name: str, device: Device, queues: Sequence[str], slots: int) -> KeptAlive:
        return KeptAlive(
            name,
            lambda: self._start(place, name, device, queues, slots),
            lambda pid: self._report_death(name, pid),
        )

    def _start(
        self, place: int, name: str, device: Device, queues: Sequence[str], slots: int
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "workers.process"),
                *("--name", name, "--device", device.torch),
                *("--queues", ",".join(queues), "--slots", str(slots)),
                *(("--cpus", ",".join(map(str, sorted(device.cpus)))) if device.cpus else ()),
                *("--metrics-port", str(port + place if (port := self._settings.metrics_port) else 0)),
                *("--parent", str(os.getpid())),
            ],
            env={**os.environ, **device.environment, **thread_environment(self._threads)},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is ours to pass on, once
        )

    def _report_death(self, worker: str, pid: int) -> None:
        try:
            leases.report_death(self._database, worker, pid)
        except ServerUnavailable:
            log.warning("the lease of %s lapses by itself: PostgreSQL is away", worker)
