"""How jobs and this dispatcher stand, for Prometheus.

Jobs are read from the ledger at each scrape, so that two dispatchers tell the same of them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from producer.counts import DispatcherCounts
from producer.dispatcher import Dispatcher
from schemas.database import Database
from schemas.errors import ServerUnavailable
from schemas.ledger.gauges import GaugeReader, Gauges
from schemas.ledger.progress import JobProgress
from schemas.states import JobState

log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds for the ledger's answer: Prometheus itself gives a scrape ten

Family = GaugeMetricFamily | CounterMetricFamily

_JOB = ["job_id", "model", "task"]  # `job` is a label of Prometheus's own
_LEFT = ["task", "queue", "model"]

_JOB_ROWS: dict[str, tuple[str, Callable[[JobProgress], int]]] = {
    "succeeded": ("Outcomes of a job that are results.", lambda job: job.succeeded),
    "failed": ("Outcomes of a job that are failures.", lambda job: job.failed),
    "retrying": ("Failures of a job that are computed again.", lambda job: job.retrying),
    "outstanding": ("Outcomes of a job that are still to come.", lambda job: job.outstanding),
}


class DispatcherCollector(Collector):
    """Jobs are labels only while they are live and for an hour after, which bounds how many series there are."""

    def __init__(self, database: Database, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._reader = GaugeReader(database)
        self._lock = threading.Lock()
        self._asked: Future[Gauges] | None = None  # the last reading, under way or done

    def describe(self) -> Iterable[Metric]:
        """Nothing is read when the collector is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read the ledger once. While PostgreSQL is away, `sciqueue_ledger_up` is 0 and what it knows is missing."""
        yield from _of_dispatcher(self._dispatcher.counts, leads=self._dispatcher.leads)
        seen = self._read()
        yield _one(
            GaugeMetricFamily("sciqueue_ledger_up", "Whether PostgreSQL answered this scrape."), seen is not None
        )
        if seen is not None:
            yield from _of_jobs(seen)
            yield from _of_work(seen)

    def _read(self) -> Gauges | None:
        """What the ledger tells; None while PostgreSQL is away, or does not answer within a scrape's patience.

        Who asks while a reading is under way gets that one, so that a server which hangs costs one connection.
        """
        with self._lock:
            asked = self._asked
            if asked is None or asked.done():
                asked = self._asked = Future()
                threading.Thread(target=_answer, args=(asked, self._reader.read), daemon=True).start()
        try:
            return asked.result(PATIENCE)
        except TimeoutError:
            log.warning("PostgreSQL has not answered a scrape for %.0f s", PATIENCE)
        except ServerUnavailable as fault:
            log.warning("%s", fault)
        return None


def _answer(asked: Future[Gauges], read: Callable[[], Gauges]) -> None:
    try:
        asked.set_result(read())
    except Exception as fault:  # for whoever waits
        asked.set_exception(fault)


def _of_dispatcher(counts: DispatcherCounts, *, leads: bool) -> Iterator[Metric]:
    name = "sciqueue_dispatcher"
    yield _one(GaugeMetricFamily(f"{name}_leads", "Whether this dispatcher leads; others stand by."), leads)
    yield _one(CounterMetricFamily(f"{name}_ticks", "Looks that came to their end."), counts.ticks)
    yield _one(CounterMetricFamily(f"{name}_tick_seconds", "Seconds that these took."), counts.tick_seconds)
    age = time.monotonic() - counts.ticked_at
    yield _one(GaugeMetricFamily(f"{name}_tick_age_seconds", "Seconds since the last one ended."), age)
    yield _by_one(
        CounterMetricFamily(f"{name}_messages", "Batches handed to workers.", labels=["queue"]),
        counts.messages.copy().items(),
    )
    yield _by_one(
        CounterMetricFamily(f"{name}_returned_batches", "Batches that came back unfinished.", labels=["reason"]),
        counts.returned.items(),
    )
    yield _one(CounterMetricFamily(f"{name}_lapsed_workers", "Workers found to be silent for too long."), counts.lapsed)


def _of_jobs(seen: Gauges) -> Iterator[Metric]:
    for name, (told, of) in _JOB_ROWS.items():
        family = GaugeMetricFamily(f"sciqueue_job_{name}_rows", told, labels=_JOB)
        yield _by_job(family, seen.jobs, of)
    done = CounterMetricFamily("sciqueue_job_rows", "Outcomes of a job that were written.", labels=_JOB)
    yield _by_job(done, seen.jobs, lambda job: job.succeeded + job.failed)
    running = GaugeMetricFamily("sciqueue_job_running", "Whether a job is neither paused nor ended.", labels=_JOB)
    yield _by_job(running, seen.jobs, lambda job: job.state is JobState.RUNNING)
    step = GaugeMetricFamily("sciqueue_job_step", "The step that a training run is at.", labels=_JOB)
    yield _by_job(step, [job for job in seen.jobs if job.step is not None], lambda job: job.step or 0)
    crashes = CounterMetricFamily(
        "sciqueue_job_crashes", "Times that a batch's process died, or gave it up.", labels=_JOB
    )
    yield _by_job(crashes, seen.jobs, lambda job: seen.crashes.get(job.id, 0))
    reasons = GaugeMetricFamily("sciqueue_job_failures", "Failures of a job by reason.", labels=[*_JOB, "reason"])
    for job in seen.jobs:
        for reason, count in seen.failures[job.id].items():
            reasons.add_metric([*_labels(job), reason], count)
    yield reasons


def _of_work(seen: Gauges) -> Iterator[Metric]:
    states = Counter(str(job.state) for job in seen.jobs)
    yield _by_one(
        GaugeMetricFamily("sciqueue_jobs", "Jobs that are live or ended within the last hour.", labels=["state"]),
        states.items(),
    )
    yield _by_one(
        GaugeMetricFamily("sciqueue_batches", "Batches that have not ended.", labels=["state"]), seen.batches.items()
    )
    rows = GaugeMetricFamily("sciqueue_outstanding_rows", "Outcomes that running jobs have left.", labels=_LEFT)
    seconds = GaugeMetricFamily(
        "sciqueue_outstanding_device_seconds", "Seconds that a device will take for them.", labels=_LEFT
    )
    for left in seen.outstanding:
        labels = [left.task, left.queue, left.model]
        rows.add_metric(labels, left.rows)
        if left.device_seconds is not None:
            seconds.add_metric(labels, left.device_seconds)
    yield rows
    yield seconds
    yield _one(GaugeMetricFamily("sciqueue_live_workers", "Worker processes with a lease."), seen.workers)
    yield _by_one(
        GaugeMetricFamily(
            "sciqueue_recent_worker_deaths",
            "Times within an hour that a worker died or fell silent.",
            labels=["worker"],
        ),
        seen.deaths.items(),
    )
    given_up = GaugeMetricFamily(
        "sciqueue_given_up_workers", "1 for a worker that its supervisor starts no more.", labels=["worker"]
    )
    yield _by_one(given_up, [(worker, 1) for worker in seen.given_up])


def _labels(job: JobProgress) -> list[str]:
    return [str(job.id), job.model, job.task]


def _one(family: Family, value: float) -> Family:
    family.add_metric([], value)
    return family


def _by_one(family: Family, values: Iterable[tuple[str, float]]) -> Family:
    for label, value in values:
        family.add_metric([label], value)
    return family


def _by_job(family: Family, jobs: Iterable[JobProgress], of: Callable[[JobProgress], float]) -> Family:
    for job in jobs:
        family.add_metric(_labels(job), of(job))
    return family
