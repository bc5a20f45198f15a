"""One job on two hosts, one of which is cut off for a minute and joined again: `make netns`.

Servers, dispatcher and a worker are on the near host, alpha; one more worker is on the far one, beta, and knows nothing
but the two URLs. While beta is cut off the job must go on at alpha; when it is joined again it must work by itself,
and what it still held must be refused; in the end each row has one outcome, the right one.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from schemas.ledger import progress
from tests.acceptance.chaos import Count, count, submit, write_molecules
from tests.acceptance.lab import Lab, running, until
from tests.acceptance.namespaces import FAR, NEAR, NEAR_ADDRESS, FarHost, enter_namespaces, far_host
from tests.acceptance.own_servers import own_servers

ROWS = 60_000
NS_PER_TOKEN = 100_000  # some 250 rows/s a host
STEADY = 15.0  # seconds of undisturbed work before the cut and after the return
SETTLED = 1.0  # seconds from the cut until what arrived before it has taken effect; no lease lapses as soon
LONGEST_STILL = 20.0  # seconds that the job may not move while beta is away
BACK_WITHIN = 15.0  # seconds from the mended cable until beta has finished a batch that it was given since

# How beta is cut off and joined, and whether it then holds locks, as a worker does while it writes outcomes.
WAYS: dict[str, tuple[Callable[[FarHost], None], Callable[[FarHost], None], bool]] = {
    "link down": (FarHost.unplug, FarHost.plug_in, False),
    "packets vanish": (FarHost.swallow, FarHost.deliver, False),
    "packets vanish amid a transaction": (FarHost.swallow, FarHost.deliver, True),
}

_REFUSED = re.compile(r"batch (\d+), fence (\d+): (?:too late|abandoned|refused) ")
_HOLD = """
import sys
from schemas.database import Database
with Database(sys.argv[1]) as database, database.transaction() as connection:
    connection.execute("SELECT FROM tallies WHERE job_id = %s FOR UPDATE", (int(sys.argv[2]),))
    print("held", flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Away:
    """When beta was cut off, joined and back at work, by the clock that all share, and how it was meanwhile."""

    cut: float
    joined: float
    back: float
    held: frozenset[tuple[int, int]]  # (batch, fence), when it was cut off
    still: float  # seconds at a stretch in which the job did not move


@dataclass(frozen=True, slots=True)
class Finished:
    """A batch that is done, and where."""

    batch: int
    rows: int
    at: float
    host: str


class TwoHosts:
    """Jobs on both hosts, seen from alpha."""

    def __init__(self, site: Lab, far: FarHost, far_log: Path) -> None:
        self.site = site
        self.far = far
        self.far_log = far_log

    def run(self, way: str, seconds: float) -> bool:
        """One job with one cut; prints what came of it, and says whether all was well."""
        source = self.site.home / "molecules.smi"
        smiles = write_molecules(source, ROWS, random.Random(way))
        job = submit(self.site, source, ns_per_token=NS_PER_TOKEN)
        until(lambda: all(self._first(job, host) for host in (NEAR, FAR)), 60.0)
        time.sleep(STEADY)
        sever, mend, locked = WAYS[way]
        with self._locks(job) if locked else nullcontext():
            away = self._cut(job, sever, mend, seconds)
        self.site.wait(job, 600.0, poll=0.5)
        tally = Count()
        count(self.site, job, smiles, tally)
        print(f"{way}, for {seconds:.0f} s:")
        return _report(self._finished(job), away, self._refused(away), tally)

    def _cut(self, job: int, sever: Callable[[FarHost], None], mend: Callable[[FarHost], None], seconds: float) -> Away:
        sever(self.far)
        cut = time.time()
        time.sleep(SETTLED)
        held = self._batches("b.state = 'running' AND l.worker LIKE %s", job, f"%@{FAR}")
        still = self._watch(job, seconds - SETTLED)
        joined = time.time()
        mend(self.far)
        back = until(lambda: self._first(job, FAR, joined), 120.0)
        return Away(cut, joined, back, frozenset((row["id"], row["fence"]) for row in held), still)

    def _watch(self, job: int, seconds: float) -> float:
        """Let time pass, and say for how much of it at a stretch the job did not move."""
        with self.site.database() as database:
            begin = moved = time.monotonic()
            rows, still = 0, 0.0
            while (at := time.monotonic()) < begin + seconds:
                if (seen := progress.of_job(database, job).done) != rows:
                    rows, moved = seen, at
                still = max(still, at - moved)
                time.sleep(0.1)
        return still

    @contextmanager
    def _locks(self, job: int) -> Iterator[None]:
        """A session of beta that is in the midst of a transaction, as a worker's that writes outcomes."""
        command = [*self.far.enter, sys.executable, "-c", _HOLD, str(self.site.environment["SCIQUEUE_DATABASE_URL"])]
        pipe = subprocess.PIPE
        with subprocess.Popen([*command, str(job)], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as holder:
            assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
            yield

    def _first(self, job: int, host: str, claimed_after: float = 0.0) -> float | None:
        """When a host finished the first batch that it claimed after a moment, by the database's clock."""
        mine = "b.state = 'done' AND l.worker LIKE %s AND b.started_at > to_timestamp(%s)"
        return min((row["at"] for row in self._batches(mine, job, f"%@{host}", claimed_after)), default=None)

    def _finished(self, job: int) -> list[Finished]:
        return [
            Finished(row["id"], row["rows"], row["at"], row["worker"].partition("@")[2])
            for row in self._batches("b.state = 'done'", job)
        ]

    def _batches(self, which: str, job: int, *parameters: Any) -> list[dict[str, Any]]:
        return self.site.query(
            "SELECT b.id, b.fence, b.rows, extract(epoch FROM b.finished_at)::float8 AS at, l.worker "
            f"FROM sciqueue.batches b JOIN sciqueue.leases l ON l.id = b.lease_id WHERE {which} AND b.job_id = %s "
            "ORDER BY b.finished_at",
            *(*parameters, job),
        )

    def _refused(self, away: Away) -> set[tuple[int, int]]:
        """Which of the attempts that beta was at when it was cut off came to nothing, as its own log says."""
        messages = (json.loads(line)["message"] for line in self.far_log.read_text().splitlines() if line[:1] == "{")
        found = (_REFUSED.match(message) for message in messages)
        return {(int(one[1]), int(one[2])) for one in found if one} & away.held


def _report(done: list[Finished], away: Away, refused: set[tuple[int, int]], tally: Count) -> bool:
    """Print what happened on both hosts, and say whether it is what should."""
    phases = {
        "before the cut": (away.cut - STEADY, away.cut),
        "while cut off": (away.cut, away.joined),
        "after the return": (away.back, away.back + STEADY),
    }
    print(f"  rows/s{'':18}{NEAR:>8}{FAR:>8}")
    for name, (begin, end) in phases.items():
        rates = [
            sum(one.rows for one in done if one.host == host and begin <= one.at < end) / (end - begin)
            for host in (NEAR, FAR)
        ]
        print(f"  {name:24}{rates[0]:>8,.0f}{rates[1]:>8,.0f}")
    taken = {one.batch for one in done if one.host == NEAR} & {batch for batch, _ in away.held}
    late = [one for one in done if one.host == FAR and away.cut + SETTLED < one.at < away.joined]
    absent = away.back - away.joined
    facts = {
        f"the job stood still for {away.still:.1f} s at most": away.still <= LONGEST_STILL,
        f"beta finished {len(late)} batches while cut off": not late,
        f"beta finished a new batch {absent:.1f} s after it was joined": absent <= BACK_WITHIN,
        f"alpha did {len(taken)} of the {len(away.held)} batches that beta held": 0 < len(taken) == len(away.held),
        f"{len(refused)} of beta's {len(away.held)} attempts at them were refused": refused == away.held,
        f"{tally.rows:,} rows: {tally}": tally.ok,
    }
    for fact, right in facts.items():
        print(f"  {fact}   {'ok' if right else 'WRONG'}", flush=True)
    return all(facts.values())


def main() -> None:
    """Cut beta off in each way, and exit with 1 if anything was not as it should be."""
    enter_namespaces("tests.acceptance.two_hosts")
    arguments = argparse.ArgumentParser(prog="make netns", description=__doc__)
    arguments.add_argument("--seconds", type=float, default=60.0, help="how long beta is cut off, well beyond a lease")
    arguments.add_argument("--way", choices=WAYS, action="append", help="only this kind; may be repeated")
    options = arguments.parse_args()
    home = Path(tempfile.mkdtemp(prefix="sqhosts-"))
    try:
        with far_host() as far, own_servers(home, NEAR_ADDRESS) as servers:
            print(servers.versions(), flush=True)
            site, beta = (Lab(home / name, log_format="json", **asdict(servers)) for name in (NEAR, FAR))
            site.command("migrate")
            worker = ("worker", "--device", "cpu")
            with (
                running(site, "dispatch"),
                running(site, *worker),
                running(beta, *worker, before=far.enter) as far_log,
            ):
                hosts = TwoHosts(site, far, far_log)
                right = [hosts.run(way, options.seconds) for way in options.way or WAYS]
    finally:
        shutil.rmtree(home, ignore_errors=True)
    sys.exit(not all(right))


if __name__ == "__main__":
    main()
