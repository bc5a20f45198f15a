"""A real scrape of a worker's metrics tells what its models have done."""

from __future__ import annotations

import socket
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from schemas.exporter import serve_metrics
from workers.counts import BatcherStats
from workers.metrics import WorkerCollector
from workers.tally import ModelCounts


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _scrape(port: int) -> dict[tuple[str, str], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {(s.name, s.labels["model"]): s.value for family in families for s in family.samples}


def test_each_scrape_reads_the_counts_anew_and_sums_a_models_revisions() -> None:
    counts = [
        ModelCounts("a", 100, BatcherStats(rows=3, tokens=10, padded_tokens=16, waiting_rows=2), {}),
        ModelCounts("a", 0, BatcherStats(rows=4, oom_splits=1, fault_splits=2), {}),
        ModelCounts("b", 7, BatcherStats(rows=1, queued_seconds=0.5), {}),
    ]
    port = _free_port()
    end = serve_metrics(WorkerCollector(lambda: counts), "127.0.0.1", port)
    try:
        first = _scrape(port)
        counts.append(ModelCounts("b", 0, BatcherStats(rows=5), {}))
        second = _scrape(port)
    finally:
        end()
    assert first["sciqueue_worker_rows_total", "a"] == 7
    assert first["sciqueue_worker_split_micro_batches_total", "a"] == 3
    assert first["sciqueue_worker_padded_tokens_total", "a"] == 16
    assert first["sciqueue_worker_waiting_rows", "a"] == 2
    assert first["sciqueue_worker_model_bytes", "a"] == 100
    assert first["sciqueue_worker_queued_seconds_total", "b"] == 0.5
    assert (first["sciqueue_worker_rows_total", "b"], second["sciqueue_worker_rows_total", "b"]) == (1, 6)


def test_a_port_that_is_taken_costs_no_work() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        serve_metrics(WorkerCollector(list), "127.0.0.1", taken.getsockname()[1])()
