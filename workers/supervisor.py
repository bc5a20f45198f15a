"""Keeps one worker process a device alive, and one for suspects: starts, drains, gives up, stops in order.

Celery's threads pool ends on some broker faults, a wedged device ends its process on purpose, and a segmentation
fault ends it without asking: in each case the supervisor reports the death, so that the batches return at once. Which
of its workers should run it reads in the ledger's roster.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import FrameType

import psutil

from schemas.database import Database
from schemas.errors import SciqueueError, ServerUnavailable
from schemas.items import INFERENCE, SUSPECTS, Task
from schemas.keepalive import HEALTHY_AFTER, Death, KeptAlive
from schemas.ledger import leases, roster
from schemas.ledger.roster import WorkerState
from schemas.settings import Settings
from workers.devices import Device, thread_environment, threads_per_process
from workers.probe import UNUSABLE

log = logging.getLogger(__name__)

POLL = 0.2  # seconds
REPORT_EVERY = 1.0  # seconds between two looks at the roster
REPORT_AGAIN = 5.0  # seconds until the next while PostgreSQL is away
SAME_SIGNAL = 1.0  # seconds in which signals count as one
GRACE = 10.0  # seconds beyond the drain, until a process that is asked to stop is killed
MOST_DEATHS = 10  # in a row, soon after the start and without a batch in hand that could be blamed
MOST_FAILED_PROBES = 3


@dataclass(slots=True)
class Supervised:
    """One device with its processes, under one name in the roster."""

    name: str
    device: Device
    processes: list[KeptAlive] = field(default_factory=list)
    deaths: int = 0  # in a row that no batch can be blamed for
    reason: str | None = None  # why it was given up

    @property
    def resting(self) -> bool:
        """Whether it is not to run, though it may still be about to stop."""
        return self.processes[0].resting

    @property
    def state(self) -> WorkerState:
        """As the roster says it."""
        if any(process.alive for process in self.processes):
            return WorkerState.DRAINING if self.resting else WorkerState.UP
        return WorkerState.DOWN


class Supervisor:
    """Call `run` in the main thread; SIGTERM or SIGINT end it once the batches in hand are done, a second at once."""

    def __init__(self, devices: Sequence[Device], tasks: Sequence[Task], settings: Settings, database_url: str) -> None:
        """Enter the devices in the roster.

        Raises:
            ServerUnavailable: PostgreSQL cannot be reached.
            UsageError: another supervisor serves one of these GPUs.
        """
        self._settings = settings
        self._tasks = tasks
        self._queues = [task.queue for task in tasks if task in INFERENCE]
        self._database = Database(database_url, size=1, timeout=2.0)
        self._host = socket.gethostname()
        self._ports = itertools.count(settings.metrics_port)
        self._stop = threading.Event()
        self._at_once = threading.Event()
        self._asked = 0.0
        self._report_at = 0.0
        self._workers: dict[str, Supervised] = {}
        self._prefix = "" if self._queues else "train-"  # in the roster, beside another supervisor of the same GPUs
        names = [f"{self._prefix}{device.name}" for device in devices]
        names = roster.enter(self._database, self._host, os.getpid(), devices[0].torch, names, psutil.pid_exists)
        for name, device in zip(names, devices, strict=True):
            self._add(name, device)
        self._suspects_on = self._largest()
        # What was running when a process died is run again alone, away from the innocent: see CONTRIBUTING.md.
        self._suspects = self._kept_alive("suspects", [SUSPECTS], 1, self._place_suspects) if self._queues else None

    def run(self) -> None:
        """Supervise until a signal, then stop the processes within the drain's bound.

        Raises:
            SciqueueError: every device was given up.
        """
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._on_signal)
        while not self._stop.wait(POLL):
            self._look()
            self._follow_roster()
            if all(worker.reason for worker in self._workers.values()):
                self._end()
                raise SciqueueError(f"no device of {self._host} can be used: the log says why")
        self._end()

    def _end(self) -> None:
        for process in self._processes():
            process.rest(self._settings.drain_seconds + GRACE)
        hurried = False
        while any(process.alive for process in self._processes()):
            if self._at_once.is_set() and not hurried:
                hurried = True
                for process in self._processes():
                    process.terminate()
            self._look()
            time.sleep(POLL)
        self._look()
        try:
            roster.leave(self._database, self._host, os.getpid())
        except ServerUnavailable:
            log.warning("the roster keeps this host's workers for some seconds: PostgreSQL is away")
        self._database.close()

    def _look(self) -> None:
        for process in self._processes():
            process.look()

    def _processes(self) -> Iterator[KeptAlive]:
        for worker in self._workers.values():
            yield from worker.processes
        if self._suspects is not None:
            yield self._suspects

    def _follow_roster(self) -> None:
        """Say how the workers stand, and have those run that are wanted."""
        if time.monotonic() < self._report_at:
            return
        self._report_at = time.monotonic() + REPORT_EVERY
        states = {worker.name: worker.state for worker in self._workers.values()}
        try:
            wanted = roster.report(self._database, self._host, os.getpid(), states)
        except ServerUnavailable:
            self._report_at = time.monotonic() + REPORT_AGAIN
            return
        for name, one_is in wanted.items():
            if name not in self._workers:
                self._add(name, replace(self._largest().device, name=name))  # of a CPU there may be any number
            self._set(self._workers[name], one_is)
        if self._suspects is not None:
            if self._suspects_on.resting or _memory(self._suspects_on) < _memory(self._largest()):
                self._suspects.rest(self._settings.drain_seconds + GRACE)
            if any(not worker.resting for worker in self._workers.values()):
                self._suspects.go_on()  # on another device, once it has stopped on this one

    def _set(self, worker: Supervised, wanted: bool) -> None:
        if wanted and worker.resting:
            log.info("%s is wanted again", worker.name)
            worker.deaths, worker.reason = 0, None
            for process in worker.processes:
                process.go_on()
        elif not wanted and not worker.resting:
            log.info("%s is wanted no longer: it drains", worker.name)
            self._rest(worker)

    def _rest(self, worker: Supervised) -> None:
        for process in worker.processes:
            process.rest(self._settings.drain_seconds + GRACE)

    def _on_signal(self, signum: int, _: FrameType | None) -> None:
        if not self._stop.is_set():
            log.info("%s: stopping the workers once their batches are done", signal.Signals(signum).name)
            self._asked = time.monotonic()
            self._stop.set()
        elif time.monotonic() - self._asked > SAME_SIGNAL:
            log.info("%s again: stopping the workers at once", signal.Signals(signum).name)
            self._at_once.set()

    def _add(self, name: str, device: Device) -> None:
        worker = self._workers[name] = Supervised(name, replace(device, name=name.removeprefix(self._prefix)))
        if self._queues:
            worker.processes.append(self._kept_alive("", self._queues, self._settings.slots, lambda: worker))
        if Task.TRAIN in self._tasks:  # one run at a time on each device
            worker.processes.append(self._kept_alive("train", [Task.TRAIN.queue], 1, lambda: worker))

    def _kept_alive(self, kind: str, queues: Sequence[str], slots: int, of: Callable[[], Supervised]) -> KeptAlive:
        """A process of the worker that `of` gives at each of its starts."""
        port = next(self._ports) if self._settings.metrics_port else 0
        worker = of()

        def start() -> subprocess.Popen[bytes]:
            nonlocal worker
            worker = of()
            device = replace(worker.device, memory=None) if kind == "train" else worker.device
            return self._start(_name(kind, worker), device, queues, slots, port)

        def on_death(death: Death) -> None:
            self._on_death(worker, _name(kind, worker), death)

        return KeptAlive(kind if kind == "suspects" else _name(kind, worker), start, on_death)

    def _place_suspects(self) -> Supervised:
        self._suspects_on = self._largest()
        return self._suspects_on

    def _largest(self) -> Supervised:
        """The worker whose device has most memory, of those that run if any do: it holds what crashed on any."""
        running = [worker for worker in self._workers.values() if not worker.resting]
        return max(running or self._workers.values(), key=_memory)

    def _start(
        self, name: str, device: Device, queues: Sequence[str], slots: int, port: int
    ) -> subprocess.Popen[bytes]:
        running = sum(not worker.resting for worker in self._workers.values())
        threads = threads_per_process(max(1, running), self._settings.torch_threads)
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "workers.process"),
                *("--name", name, "--device", device.torch, "--gpu", device.visible),
                *("--queues", ",".join(queues), "--slots", str(slots)),
                *(("--memory", str(device.memory)) if device.memory is not None else ()),
                *(("--cpus", ",".join(map(str, sorted(device.cpus)))) if device.cpus else ()),
                *("--metrics-port", str(port)),
                *("--parent", str(os.getpid())),
            ],
            env={**os.environ, **device.environment, **thread_environment(threads)},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is ours to pass on, once
        )

    def _on_death(self, worker: Supervised, name: str, death: Death) -> None:
        """Have the batches of a process return, and give its device up if they cannot be blamed again and again."""
        try:
            held = leases.report_death(self._database, name, death.pid)
        except ServerUnavailable:
            log.warning("the lease of %s lapses by itself: PostgreSQL is away", name)
            return
        worker.deaths = 0 if held or death.lived > HEALTHY_AFTER else worker.deaths + 1
        if worker.deaths >= (MOST_FAILED_PROBES if death.status == UNUSABLE else MOST_DEATHS):
            self._give_up(worker, f"ended {worker.deaths} times in a row without a batch, lastly by {death.how}")

    def _give_up(self, worker: Supervised, reason: str) -> None:
        log.error("%s is given up: it %s; once mended, 'sciqueue scale' starts it again", worker.name, reason)
        worker.reason = reason
        self._rest(worker)
        try:
            roster.give_up(self._database, worker.name, os.getpid(), reason)
        except ServerUnavailable:
            worker.reason = None  # the roster wants it still, so it will be started, and given up, again
            log.warning("%s stays in the roster: PostgreSQL is away", worker.name)


def _memory(worker: Supervised) -> int:
    return worker.device.memory or 0


def _name(kind: str, worker: Supervised) -> str:
    """What Celery, the ledger and Flower call a process of a worker."""
    return f"{kind}-{worker.device.name}" if kind else worker.device.name
