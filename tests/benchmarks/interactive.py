"""Single molecules that trickle in beside a bulk job: how long each takes, and what they cost the bulk job.

Each is a job of its own, with high priority, from the call of `submit` to the return of `wait`. Beside it the
same where rows are not blended: a worker with one slot computes a batch at a time.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from random import Random

from producer.client import Client
from producer.demo_corpora import approved_drugs
from tests.acceptance.lab import Lab, lab
from tests.benchmarks.figures import Figure, alternate

MOLECULES = 5000  # of the bulk job
EVERY = 0.7  # seconds between two single molecules, on average
TARGET = 1.0  # seconds
KEPT = 0.9  # of the bulk job's rate
REPEATS = 3


def figures() -> list[Figure]:
    """The bulk job alone and with company, with blending and without, in turn."""
    with lab() as blended, lab(slots="1") as unblended:
        beside, unblended_beside = _Beside(blended), _Beside(unblended)
        alone = _bulk(blended)
        seconds = alternate({"alone": alone, "beside": beside, "unblended": unblended_beside}, repeats=REPEATS)
    p95, without = (_p95(way.latencies[1:]) for way in (beside, unblended_beside))
    kept, rate = MOLECULES / seconds["beside"], MOLECULES / seconds["alone"]
    return [
        Figure("interactive-p95", "its target, beside a bulk job", p95, TARGET, "s", 1.0, smaller=True),
        Figure("interactive-bulk", "the bulk job alone", kept, rate, "molecules/s", KEPT),
        Figure("interactive-p95", "one batch at a time", p95, without, "s", None, smaller=True),
    ]


def _bulk(site: Lab) -> Callable[[], float]:
    """A way that predicts all molecules of the bulk job once."""
    smiles = [record.content.smiles for record in approved_drugs()]  # type: ignore[union-attr]
    source = site.home / "bulk.smi"
    source.write_text("\n".join(islice(cycle(smiles), MOLECULES)) + "\n")

    def run() -> float:
        with Client(settings=site.settings) as client:
            job = client.submit(Path(source), task="predict", again=True, standardize="none")
            done = job.wait(600.0, poll=0.1)
        assert done.finished_at is not None
        return (done.finished_at - done.created_at).total_seconds()

    return run


class _Beside:
    """The same with single molecules trickling in until it ends; keeps their latencies, a list a pass."""

    def __init__(self, site: Lab) -> None:
        self._site = site
        self._bulk = _bulk(site)
        self._draw = Random(0)
        self.latencies: list[list[float]] = []

    def __call__(self) -> float:
        ended = threading.Event()
        with ThreadPoolExecutor(16) as people, Client(settings=self._site.settings) as client:
            bulk = people.submit(self._bulk)
            bulk.add_done_callback(lambda _: ended.set())
            asked: list[Future[float]] = []
            while not ended.wait(self._draw.expovariate(1 / EVERY)):
                asked.append(people.submit(_ask, client, f"{'C' * self._draw.randrange(1, 12)}O"))
            self.latencies.append([one.result() for one in asked])
        return bulk.result()


def _ask(client: Client, smiles: str) -> float:
    """Seconds until one molecule's prediction is there."""
    began = time.monotonic()
    done = client.submit([smiles], task="predict", priority="high", standardize="none").wait(60.0, poll=0.02)
    assert done.succeeded == 1
    return time.monotonic() - began


def _p95(passes: list[list[float]]) -> float:
    return statistics.quantiles([one for latencies in passes for one in latencies], n=20)[-1]
