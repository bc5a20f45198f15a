"""What a worker process has done, for Prometheus: read from the shelf's counts at each scrape, never kept twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from workers.counts import BatcherStats
from workers.tally import ModelCounts

_COUNTERS: dict[str, tuple[str, Callable[[BatcherStats], float]]] = {
    "rows": ("Rows that have their outcome.", lambda work: work.rows),
    "failed_rows": ("Rows that the device's part failed alone.", lambda work: work.failed_rows),
    "tokens": ("Tokens computed, without padding.", lambda work: work.tokens),
    "padded_tokens": ("Tokens computed, with padding.", lambda work: work.padded_tokens),
    "micro_batches": ("Calls of the engine.", lambda work: work.micro_batches),
    "split_micro_batches": ("Micro-batches that failed and were halved.", lambda w: w.oom_splits + w.fault_splits),
    "busy_seconds": ("Seconds that the device computed.", lambda work: work.busy_seconds),
    "queued_seconds": ("Seconds that rows waited for the device, summed over rows.", lambda w: w.queued_seconds),
    "filled": ("Room on the device that was used while it computed.", lambda work: work.filled),
    "room": ("Room on the device while it computed.", lambda work: work.room),
}


class WorkerCollector(Collector):
    """Metrics by model. Revisions of one model are summed, so that each name is told once."""

    def __init__(self, counts: Callable[[], list[ModelCounts]]) -> None:
        self._counts = counts

    def describe(self) -> Iterable[Metric]:
        """Nothing is read when the collector is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read the counts once and tell all metrics from them."""
        counts = self._counts()
        for name, (told, of) in _COUNTERS.items():
            yield _by_model(
                CounterMetricFamily(f"sciqueue_worker_{name}", told, labels=["model"]),
                ((each.model, of(each.work)) for each in counts),
            )
        yield _by_model(
            GaugeMetricFamily("sciqueue_worker_waiting_rows", "Rows that wait for the device.", labels=["model"]),
            ((each.model, each.work.waiting_rows) for each in counts),
        )
        yield _by_model(
            GaugeMetricFamily("sciqueue_worker_model_bytes", "Bytes that the loaded model takes.", labels=["model"]),
            ((each.model, each.held) for each in counts),
        )


def _by_model(
    family: CounterMetricFamily | GaugeMetricFamily, values: Iterable[tuple[str, float]]
) -> CounterMetricFamily | GaugeMetricFamily:
    sums: dict[str, float] = defaultdict(float)
    for model, value in values:
        sums[model] += value
    for model, value in sums.items():
        family.add_metric([model], value)
    return family
