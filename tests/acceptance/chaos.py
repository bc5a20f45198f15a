"""Kill every kind of process at random instants of a job, and count the rows: `make chaos`.

For each victim a job runs with real processes while the victim is killed (-9), again and again, at seeded random
instants. The job must end by itself, with every row's outcome right and there once. "Work went on" is the first
completion of a batch that was claimed after the kill.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from schemas.errors import ServerUnavailable
from tests.acceptance.lab import Lab, lab, until

ROWS = 20_000
BATCH_ROWS = 64
NS_PER_TOKEN = 60_000  # slow enough that a job lasts for many kills
LONGEST_PAUSE = 3.0  # seconds between work going on and the next kill
MODEL = "fake-predict"


def kill_worker(site: Lab) -> None:
    """A worker process, as a segmentation fault or the kernel's memory killer would end it."""
    random.choice(_alive(site.workers)).kill()


def kill_dispatcher(site: Lab) -> None:
    """The dispatcher that leads."""
    _alive(lambda: site.processes("dispatch"))[0].kill()


def kill_broker(site: Lab) -> None:
    """The Redis-compatible server; it keeps nothing on disk, so its data go with it."""
    _alive(site.servers.broker.process).kill()


def kill_postgres(site: Lab) -> None:
    """PostgreSQL's postmaster."""
    _alive(site.servers.postgres.process).kill()


def pause_worker(site: Lab) -> None:
    """A worker that hangs beyond its lease and then goes on as if nothing had happened."""
    hang(site, random.choice(_alive(site.workers)))


def hang(site: Lab, worker: psutil.Process) -> None:
    """Stop a process for longer than its lease, then let it go on."""
    worker.send_signal(signal.SIGSTOP)
    time.sleep(site.settings.lease_seconds + 2.0)
    worker.send_signal(signal.SIGCONT)


VICTIMS: dict[str, Callable[[Lab], None]] = {
    "worker": kill_worker,
    "broker": kill_broker,
    "dispatcher": kill_dispatcher,
    "postgres": kill_postgres,
    "paused worker": pause_worker,
}


@dataclass
class Count:
    """How the outcomes of jobs compare with their input."""

    rows: int = 0
    missing: int = 0
    doubled: int = 0
    wrong: int = 0
    failed: int = 0

    @property
    def ok(self) -> bool:
        return not (self.missing or self.doubled or self.wrong or self.failed)

    def __str__(self) -> str:
        return f"{self.missing} missing, {self.doubled} doubled, {self.wrong} wrong, {self.failed} failed"


@dataclass
class Verdict:
    """What one victim's run showed."""

    victim: str
    instants: int = 0
    jobs: int = 0
    count: Count = field(default_factory=Count)
    recoveries: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        median, worst = statistics.median(self.recoveries), max(self.recoveries)
        return (
            f"{self.victim:14} {self.instants:3} instants, {self.jobs} jobs of {ROWS:,} rows: {self.count}; work went "
            f"on after {median:.1f} s (median), {worst:.1f} s (worst)   {'ok' if self.count.ok else 'SHORT'}"
        )


def run(victim: str, instants: int, seed: int, rows: int = ROWS) -> Verdict:
    """Kill one kind of process `instants` times while jobs run, then count."""
    chance = random.Random(f"{victim} {seed}")
    verdict = Verdict(victim)
    with lab(device="cpu,cpu", slots="4") as site:
        source = site.home / "molecules.smi"
        smiles = write_molecules(source, rows, chance)
        job = submit(site, source)
        verdict.jobs = 1
        until(lambda: site.progress(job).done, 60.0)
        while verdict.instants < instants:
            time.sleep(chance.uniform(0.0, LONGEST_PAUSE))
            if site.progress(job).ended:  # this one lived too short a life for all instants
                count(site, job, smiles, verdict.count)
                job = submit(site, source)
                verdict.jobs += 1
                until(lambda job=job: site.progress(job).done, 60.0)
            before = _now(site)
            VICTIMS[victim](site)
            verdict.instants += 1
            verdict.recoveries.append(until(lambda at=before, job=job: _went_on(site, job, at), 120.0))
            print(f"{victim}: {verdict.instants} of {instants}", end="\r", file=sys.stderr, flush=True)
        site.wait(job, 1200.0)
        count(site, job, smiles, verdict.count)
    return verdict


def write_molecules(path: Path, rows: int, chance: random.Random, *, lengths: tuple[int, int] = (5, 60)) -> list[str]:
    """A file of different made-up chains, as the fake engine needs no chemistry."""
    smiles = ["".join(chance.choices("CNOS", k=chance.randint(*lengths))) for _ in range(rows)]
    path.write_text("".join(f"{one} m{row}\n" for row, one in enumerate(smiles)))
    return smiles


def checksum(smiles: str) -> float:
    """What the fake engine must answer for a molecule."""
    return (zlib.crc32(smiles.encode()) >> 8) / 2**24


def submit(site: Lab, source: Path, *, batch_rows: int = BATCH_ROWS, ns_per_token: float = NS_PER_TOKEN) -> int:
    """Begin a new job over these molecules, and return its id."""
    site.command(
        *("submit", str(source), "--task", "predict", "--model", MODEL, "--batch-rows", str(batch_rows)),
        *("--param", f"ns_per_token={ns_per_token}", "--again"),
    )
    return int(site.query("SELECT max(id) AS id FROM sciqueue.jobs")[0]["id"])


def _alive(find: Callable[[], Any]) -> Any:
    """The victim, when it is there: it may be about to start again after the last kill."""
    return until(find, 30.0)


def _now(site: Lab) -> float:
    return float(site.query("SELECT extract(epoch FROM clock_timestamp())::float8 AS now")[0]["now"])


def _went_on(site: Lab, job: int, since: float) -> float | None:
    """Seconds from `since` to the first completion of a batch claimed after it, or to the job's end."""
    try:
        row = site.query(
            "SELECT extract(epoch FROM min(finished_at))::float8 - %s AS seconds FROM sciqueue.batches "
            "WHERE job_id = %s AND state = 'done' AND started_at > to_timestamp(%s)",
            *(since, job, since),
        )[0]
        if row["seconds"] is None and site.progress(job).ended:
            return _now(site) - since
    except ServerUnavailable:
        return None
    return row["seconds"]


def count(site: Lab, job: int, smiles: Sequence[str], counted: Count) -> None:
    """Compare the table with the input, row by row, and the tallies with the table."""
    rows = site.query(
        'SELECT row, "values"[1]::float8 AS value, error_code FROM sciqueue.predictions WHERE job_id = %s ORDER BY row',
        job,
    )
    seen = [row["row"] for row in rows]
    counted.rows += len(smiles)
    counted.missing += len(set(range(len(smiles))) - set(seen))
    counted.doubled += len(seen) - len(set(seen))
    counted.failed += sum(row["error_code"] is not None for row in rows)
    counted.wrong += sum(row["value"] != checksum(smiles[row["row"]]) for row in rows if row["error_code"] is None)
    counted.wrong += abs(site.progress(job).done - len(seen))


def main() -> None:
    """Run all victims and say how it went; exit code 1 if a row was lost, doubled or wrong."""
    arguments = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    arguments.add_argument("--instants", type=int, default=30, help="kills of each kind")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--victim", choices=VICTIMS, action="append", help="only this kind; may be repeated")
    options = arguments.parse_args()
    verdicts = []
    for victim in options.victim or VICTIMS:
        verdicts.append(run(victim, options.instants, options.seed))
        print(verdicts[-1], flush=True)
    sys.exit(0 if all(verdict.count.ok for verdict in verdicts) else 1)


if __name__ == "__main__":
    main()
