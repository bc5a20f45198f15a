"""What a row costs beside its computing: a million rows from file to done through an engine that does nothing.

From starting `sciqueue submit`, which reads, checks and loads the file, to the last row's outcome in PostgreSQL, with
one worker process. Beside it plain Celery, a task a row with the result in its backend, on a sample.
"""

from __future__ import annotations

import time
from itertools import count

from tests.acceptance.lab import lab
from tests.benchmarks.celery_rivals import ask_all, celery_worker
from tests.benchmarks.figures import Figure, alternate
from tests.benchmarks.loading import write_smiles

ROWS = 1_000_000
BATCH = 4096  # rows, a tenth of a second of work
SAMPLE = 5_000
AIM = 20.0  # microseconds a row


def figures() -> list[Figure]:
    """Both in turn."""
    with lab() as site, celery_worker(site, "celery_rivals", "solo") as sender:
        seeds = count(1)

        def ours() -> float:
            source = site.home / "rows.smi"
            write_smiles(source, ROWS, next(seeds))  # the same rows would not be loaded again
            began = time.monotonic()
            site.command("submit", str(source), "--model", "fake-predict", "--batch-rows", str(BATCH))
            done = site.wait(int(site.query("SELECT max(id) AS id FROM sciqueue.jobs")[0]["id"]), 1800.0)
            assert done.succeeded == ROWS, done
            return time.monotonic() - began

        def theirs() -> float:
            began = time.monotonic()
            assert len(ask_all(sender, "checksum", [f"m{row}" for row in range(SAMPLE)])) == SAMPLE
            return time.monotonic() - began

        seconds = alternate({"ours": ours, "theirs": theirs}, repeats=1)
    cost, celery = seconds["ours"] / ROWS * 1e6, seconds["theirs"] / SAMPLE * 1e6
    return [
        Figure("queue-cost", "what we aim at", cost, AIM, "us/row", 1.0, smaller=True),
        Figure("queue-cost", "Celery, a task a row", cost, celery, "us/row", 50.0, smaller=True),
    ]
