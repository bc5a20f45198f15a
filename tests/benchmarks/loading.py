"""A million SMILES through `sciqueue submit`: rows a second, the producer's peak memory, the broker's memory.

`make bench-load`. Peak memory is reported for a tenth of the rows beside all of them: it must not grow.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import threading
import time
from pathlib import Path

import psutil

from tests.acceptance.lab import SCIQUEUE, Lab, lab

MIB = 2**20


def main() -> None:
    """Load, compute with the fake engine, and report."""
    arguments = argparse.ArgumentParser(prog="make bench-load", description=__doc__)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    rows = arguments.parse_args().rows
    with lab() as site:
        broker = _Peak(site.servers.broker.process())
        for count in (rows // 10, rows):
            source = site.home / f"{count}.smi"
            write_smiles(source, count)
            seconds, peak = submit(site, source)
            print(f"load {count:>9,} rows: {count / seconds:9,.0f} rows/s, producer's peak memory {peak / MIB:.0f} MiB")
        began = time.monotonic()
        job = site.query("SELECT max(id) AS id FROM sciqueue.jobs")[0]["id"]
        done = site.wait(job, 1800.0)
        wall = (done.finished_at - done.created_at).total_seconds() if done.finished_at else time.monotonic() - began
        print(f"submit to done, no-op engine, one worker: {rows / wall:,.0f} rows/s ({wall / rows * 1e6:.1f} us a row)")
        print(f"broker's peak memory over all of it: {broker.stop() / MIB:.1f} MiB")


def write_smiles(path: Path, rows: int, seed: int = 1) -> None:
    """Made-up chains of 10 to 60 characters: length and variety count here, not chemistry."""
    chance = random.Random(seed)
    with path.open("w") as out:
        for row in range(rows):
            out.write("".join(chance.choices("CCCNOScn1(=)", k=chance.randint(10, 60))) + f"\tm{row}\n")


def submit(site: Lab, source: Path) -> tuple[float, int]:
    """Seconds that `sciqueue submit` took, and its peak resident bytes."""
    began = time.monotonic()
    process = subprocess.Popen(
        [*SCIQUEUE, "submit", str(source), "--task", "predict", "--model", "fake-predict"],
        env=site.environment,
        stdout=subprocess.DEVNULL,
    )
    peak = _Peak(psutil.Process(process.pid))
    if process.wait() != 0:
        raise SystemExit(f"sciqueue submit ended with status {process.returncode}")
    return time.monotonic() - began, peak.stop()


class _Peak:
    """The largest resident set of a process, looked at every 50 ms in a thread."""

    def __init__(self, process: psutil.Process | None) -> None:
        assert process is not None
        self._process = process
        self._peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.wait(0.05):
            try:
                self._peak = max(self._peak, self._process.memory_info().rss)
            except psutil.Error:
                return

    def stop(self) -> int:
        self._stop.set()
        self._thread.join()
        return self._peak


if __name__ == "__main__":
    main()
