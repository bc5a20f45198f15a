"""What a worker process has done and takes, for Prometheus: read where it is known at each scrape, never kept twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from workers.counts import BatcherStats
from workers.tally import ModelCounts
from workers.usage import Usage

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

    def __init__(
        self,
        worker: str,
        counts: Callable[[], list[ModelCounts]],
        verdicts: Callable[[], Mapping[str, int]],
        usage: Callable[[], Usage],
    ) -> None:
        """`worker` is its name as Flower shows it; the rest is asked at each scrape."""
        self._worker = worker
        self._counts = counts
        self._verdicts = verdicts
        self._usage = usage

    def describe(self) -> Iterable[Metric]:
        """Nothing is read when the collector is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read everything once and tell all metrics from it."""
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
        batches = CounterMetricFamily("sciqueue_worker_batches", "Batches by what became of them.", labels=["verdict"])
        for verdict, count in self._verdicts().items():
            batches.add_metric([verdict], count)
        yield batches
        yield from self._of_machine(self._usage())

    def _of_machine(self, usage: Usage) -> Iterator[Metric]:
        resident = GaugeMetricFamily(
            "sciqueue_worker_resident_bytes", "Bytes that the process takes, with those beside it.", labels=["worker"]
        )
        resident.add_metric([self._worker], usage.resident)
        labels = ["worker", "device"]
        total = GaugeMetricFamily("sciqueue_worker_memory_bytes", "Memory of a device, in all.", labels=labels)
        free = GaugeMetricFamily("sciqueue_worker_memory_free_bytes", "Memory of a device that is free.", labels=labels)
        busy = GaugeMetricFamily(
            "sciqueue_worker_gpu_busy_ratio", "Share of the last moment that it ran.", labels=labels
        )
        for device, memory in usage.memory.items():
            total.add_metric([self._worker, device], memory.total)
            free.add_metric([self._worker, device], memory.free)
        for device, share in usage.busy.items():
            busy.add_metric([self._worker, device], share)
        yield from (resident, total, free, busy)


def _by_model(
    family: CounterMetricFamily | GaugeMetricFamily, values: Iterable[tuple[str, float]]
) -> CounterMetricFamily | GaugeMetricFamily:
    sums: dict[str, float] = defaultdict(float)
    for model, value in values:
        sums[model] += value
    for model, value in sums.items():
        family.add_metric([model], value)
    return family
