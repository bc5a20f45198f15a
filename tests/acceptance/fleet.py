"""Kill, add, drain and crash workers while one job of 200,000 rows runs, and count every row: `make fleet`.

Four workers with simulated devices belong to the stack; two more come and go as a second host would, under a
supervisor of their own. Each event is held for some seconds, so that the rate's falling and rising shows.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

from tests.acceptance.chaos import Count, count, hang, submit, write_molecules
from tests.acceptance.fleet_report import Bar, Phase, Timeline, draw, read
from tests.acceptance.lab import SCIQUEUE, Lab, lab, until

FIRST, SECOND = 4, 2  # devices of the stack, and of the second host
ROWS = 200_000
ROWS_A_SECOND = 400  # of one device
BATCH_ROWS = 64
LENGTH = 20  # tokens a row, all alike: a micro-batch costs longest x count
HOLD = 6.0  # seconds


def start_host(site: Lab) -> psutil.Popen:
    """Start a supervisor beside the stack's, with devices of its own."""
    with (site.home / "logs" / "second.log").open("a") as log:
        return psutil.Popen(
            [
                *(*SCIQUEUE, "worker", "--device", ",".join(["cpu"] * SECOND)),
                *("--parent", str(os.getpid())),
            ],
            env=site.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


class Fleet:
    """What can happen to the workers. Each event returns once those that should be at work are."""

    def __init__(self, site: Lab, begin_job: Callable[[], int], scarce: int) -> None:
        """With fewer rows than `scarce` left another job is begun, so that every event meets work."""
        self.site = site
        self.jobs = [begin_job()]
        self.faults: list[str] = []
        self.notes: list[str] = []
        self._begin_job = begin_job
        self._scarce = scarce
        self._devices = FIRST
        self._second: psutil.Popen | None = None

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None) -> None:
        if self._second is not None:
            self._second.kill()  # its workers end by themselves
            self._second.wait()

    def start(self) -> None:
        """Wait for the stack's own."""
        self._await()

    def kill_worker(self) -> None:
        """End a worker process as the kernel's memory killer would."""
        self._lose([_devices_of(self.site.supervisor())[0]], signal.SIGKILL)

    def crash_two(self) -> None:
        """Two segmentation faults at once, one on each host."""
        hosts = (self.site.supervisor(), self._host())
        self._lose([_devices_of(host)[-1] for host in hosts], signal.SIGSEGV)

    def hang_worker(self) -> None:
        """A worker that others have taken for dead goes on as if nothing had happened."""
        victim = _devices_of(self.site.supervisor())[1]
        leases = self._leases([victim])
        hang(self.site, victim)
        self._await_without(leases)

    def add_host(self) -> None:
        """Two workers more, while the job runs."""
        self._second = start_host(self.site)
        self._devices += SECOND
        self._await()

    def drain_host(self) -> None:
        """Ask the second host to stop: it has to finish what it holds, and to end well."""
        status = self._leave(signal.SIGTERM)
        if status != 0:
            self.faults.append(f"the drained supervisor ended with status {status}")

    def kill_supervisor(self) -> None:
        """Its workers must notice, finish what they hold, and end too."""
        self._leave(signal.SIGKILL)

    def _lose(self, victims: Sequence[psutil.Process], how: signal.Signals) -> None:
        """Send processes a signal that ends them, and wait until others are at work in their place."""
        leases = self._leases(victims)
        for victim in victims:
            victim.send_signal(how)
        self._await_without(leases)

    def _leave(self, how: signal.Signals) -> int:
        """Have the second host go. Every batch that it held must be done by it, at its first try."""
        host, self._second = self._host(), None
        family = host.children(recursive=True)
        leases = self._leases(family)
        held: set[tuple[int, int, int]] = set()

        def gone() -> bool:
            held.update(self._held(leases))
            return not any(process.is_running() for process in family)

        began = time.time()
        held.update(self._held(leases))
        host.send_signal(how)
        until(gone, self.site.settings.drain_seconds + 10.0, poll=0.1)
        took = time.time() - began
        status = int(host.wait(10.0))
        self._devices -= SECOND
        self._check_left(leases, held)
        self.notes.append(
            f"{how.name} to the second host: {len(held)} batches in hand, all its processes ended after {took:.1f} s"
        )
        return status

    def _check_left(self, leases: Sequence[int], held: set[tuple[int, int, int]]) -> None:
        found = self.site.query(
            "SELECT id, fence, lease_id FROM sciqueue.batches WHERE id = ANY(%s) AND state = 'done'",
            [batch for batch, _, _ in held],
        )
        finished = {(row["id"], row["fence"], row["lease_id"]) for row in found}
        self.faults += [f"batch {batch} was not finished by who held it" for batch, *_ in sorted(held - finished)]
        closed = self.site.query("SELECT worker, closed_for FROM sciqueue.leases WHERE id = ANY(%s)", list(leases))
        self.faults += [
            f"the lease of {row['worker']} was {row['closed_for']}" for row in closed if row["closed_for"] != "stopped"
        ]

    def _await(self) -> None:
        """Wait until as many device workers as there should be have a lease, and a batch done under it."""

        def ready() -> bool:
            if self.site.progress(self.jobs[-1]).outstanding < self._scarce:
                self.jobs.append(self._begin_job())
            return self._at_work() == self._devices

        until(ready, 90.0, poll=0.2)

    def _await_without(self, leases: Sequence[int]) -> None:
        closed = "SELECT FROM sciqueue.leases WHERE id = ANY(%s) AND closed_at IS NULL"
        until(lambda: not self.site.query(closed, list(leases)), 30.0, poll=0.2)
        self._await()

    def _at_work(self) -> int:
        found = self.site.query(
            "SELECT count(*)::int AS n FROM sciqueue.leases l WHERE closed_at IS NULL "
            "AND expires_at > clock_timestamp() AND 'sciqueue.predict' = ANY(queues) "
            "AND EXISTS (SELECT FROM sciqueue.batches WHERE lease_id = l.id AND state = 'done')"
        )
        return int(found[0]["n"])

    def _leases(self, workers: Sequence[psutil.Process]) -> list[int]:
        query = "SELECT id FROM sciqueue.leases WHERE pid = ANY(%s) AND closed_at IS NULL"
        return [row["id"] for row in self.site.query(query, [worker.pid for worker in workers])]

    def _held(self, leases: Sequence[int]) -> set[tuple[int, int, int]]:
        query = "SELECT id, fence, lease_id FROM sciqueue.batches WHERE lease_id = ANY(%s) AND state = 'running'"
        return {(row["id"], row["fence"], row["lease_id"]) for row in self.site.query(query, list(leases))}

    def _host(self) -> psutil.Popen:
        assert self._second is not None, "there is no second host"
        return self._second


def _devices_of(supervisor: psutil.Process) -> list[psutil.Process]:
    """A supervisor's workers with a device each, without the one for suspects."""
    return [one for one in supervisor.children() if "suspects-" not in " ".join(one.cmdline())]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to the fleet, and what the settled rate must do."""

    name: str
    change: Callable[[Fleet], None]
    bar: Bar


START = Event("4 workers", Fleet.start, Bar.ANY)
KILL_WORKER = Event("kill -9 of one", Fleet.kill_worker, Bar.RETURNS)
ADD = Event("2 added", Fleet.add_host, Bar.RISES)
KILL_SUPERVISOR = Event("kill -9 of their supervisor", Fleet.kill_supervisor, Bar.FALLS)
START_AGAIN = Event("started again", Fleet.add_host, Bar.RISES)
CRASH_TWO = Event("segfaults, 2 at once", Fleet.crash_two, Bar.RETURNS)
HANG = Event("one hangs past its lease", Fleet.hang_worker, Bar.RETURNS)
DRAIN = Event("2 drained", Fleet.drain_host, Bar.FALLS)
EVENTS = (START, KILL_WORKER, ADD, KILL_SUPERVISOR, START_AGAIN, CRASH_TWO, HANG, DRAIN)


@dataclass(frozen=True, slots=True)
class Proof:
    """What the events came to. `faults` are broken promises, whatever the rates were."""

    timeline: Timeline
    count: Count
    jobs: int
    faults: Sequence[str]
    notes: Sequence[str]

    @property
    def ok(self) -> bool:
        return self.count.ok and not self.faults and self.timeline.ok

    def __str__(self) -> str:
        lines = [
            str(self.timeline),
            *self.notes,
            *(f"FAULT: {fault}" for fault in self.faults),
            f"{self.count.rows:,} rows in {self.jobs} job{'s' * (self.jobs > 1)}: {self.count}   "
            f"{'ok' if self.ok else 'SHORT'}",
        ]
        return "\n".join(lines)


def run(
    rows: int, *, rate: float, batch_rows: int, hold: float, events: Sequence[Event] = EVENTS, **settings: str
) -> Proof:
    """One job of so many rows at `rate` rows a second a device, the events while it runs, and the count of its rows."""
    phases: list[Phase] = []
    counted = Count()
    with lab(device=",".join(["cpu"] * FIRST), torch_threads="1", **settings) as site:
        source = site.home / "molecules.smi"
        smiles = write_molecules(source, rows, random.Random(1), lengths=(LENGTH, LENGTH))
        cost = 1e9 / (rate * LENGTH)
        in_hand = (FIRST + SECOND) * site.settings.slots * batch_rows
        scarce = 2 * in_hand + int((FIRST + SECOND) * rate * hold)  # what is done while an event is held
        with Fleet(site, lambda: submit(site, source, batch_rows=batch_rows, ns_per_token=cost), scarce) as fleet:
            until(lambda: site.progress(fleet.jobs[0]).done > in_hand, 60.0)  # the first batches all end at once
            for event in events:
                began = time.time()
                event.change(fleet)
                settled = time.time()
                time.sleep(hold)
                phases.append(Phase(event.name, event.bar, began, settled, time.time()))
                print(f"{event.name}: settled after {settled - began:.1f} s", file=sys.stderr, flush=True)
        for job in fleet.jobs:
            site.wait(job, 600.0, poll=0.5)
            count(site, job, smiles, counted)
        return Proof(read(site, phases, rate), counted, len(fleet.jobs), fleet.faults, fleet.notes)


def main() -> None:
    """Run the job, print its phases, and exit with 1 if a row or a batch went astray or the rate did not follow."""
    arguments = argparse.ArgumentParser(prog="make fleet", description=__doc__)
    arguments.add_argument("--rows", type=int, default=ROWS)
    arguments.add_argument("--hold", type=float, default=HOLD, help="seconds after each event")
    arguments.add_argument("--plot", type=Path, metavar="FILE.svg")
    options = arguments.parse_args()
    proof = run(options.rows, rate=ROWS_A_SECOND, batch_rows=BATCH_ROWS, hold=options.hold)
    print(proof)
    if options.plot:
        draw(proof.timeline, options.plot)
    raise SystemExit(not proof.ok)


if __name__ == "__main__":
    main()
