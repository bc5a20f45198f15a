"""How the jobs stand, for Prometheus: read from the ledger at each scrape, so that two dispatchers tell the same."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from schemas.database import Database
from schemas.errors import ServerUnavailable
from schemas.ledger import gauges
from schemas.ledger.progress import JobProgress

log = logging.getLogger(__name__)

_LABELS = ["job_id", "model", "task"]  # `job` is a label of Prometheus's own


class DispatcherCollector(Collector):
    """Jobs are labels only while they are live and for an hour after, which bounds how many series there are."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterable[Metric]:
        """Nothing is read when the collector is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read the ledger once. While PostgreSQL is away, `sciqueue_ledger_up` is 0 and the rest is missing."""
        up = GaugeMetricFamily("sciqueue_ledger_up", "Whether PostgreSQL answered this scrape.")
        try:
            seen = gauges.read(self._database)
        except ServerUnavailable as fault:
            log.warning("%s", fault)
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        rows: dict[str, Callable[[JobProgress], int]] = {
            "succeeded": lambda job: job.succeeded,
            "failed": lambda job: job.failed,
            "retrying": lambda job: job.retrying,
            "outstanding": lambda job: job.outstanding,
        }
        for name, of in rows.items():
            family = GaugeMetricFamily(f"sciqueue_job_{name}_rows", f"Outcomes of a job: {name}.", labels=_LABELS)
            for job in seen.jobs:
                family.add_metric([str(job.id), job.model, job.task], of(job))
            yield family
        done = CounterMetricFamily("sciqueue_job_rows", "Outcomes of a job that were written.", labels=_LABELS)
        for job in seen.jobs:
            done.add_metric([str(job.id), job.model, job.task], job.succeeded + job.failed)
        yield done
        states = Counter(str(job.state) for job in seen.jobs)
        yield _by_state("sciqueue_jobs", "Jobs that are live or ended within the last hour.", states)
        yield _by_state("sciqueue_batches", "Batches that have not ended.", seen.batches)
        workers = GaugeMetricFamily("sciqueue_live_workers", "Worker processes with a lease.")
        workers.add_metric([], seen.workers)
        yield workers


def _by_state(name: str, told: str, counts: dict[str, int] | Counter[str]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, told, labels=["state"])
    for state, count in counts.items():
        family.add_metric([state], count)
    return family
