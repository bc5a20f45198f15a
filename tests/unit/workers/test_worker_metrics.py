"""A real scrape of a worker's metrics tells what its models have done, and what the process takes."""

from __future__ import annotations

import socket

from producer.servers.endpoint import free_port
from schemas.exporter import serve_metrics
from tests.scraping import by_labels, scrape
from workers.counts import BatcherStats
from workers.metrics import WorkerCollector
from workers.room import Memory
from workers.tally import ModelCounts
from workers.usage import Usage, read_usage


def test_each_scrape_reads_the_counts_anew_and_sums_a_models_revisions() -> None:
    counts = [
        ModelCounts("a", 100, BatcherStats(rows=3, tokens=10, padded_tokens=16, waiting_rows=2), {}),
        ModelCounts("a", 0, BatcherStats(rows=4, oom_splits=1, fault_splits=2), {}),
        ModelCounts("b", 7, BatcherStats(rows=1, queued_seconds=0.5), {}),
    ]
    usage = Usage(5, {"cpu": Memory(64, 32), "GPU-a": Memory(80, 8)}, {"GPU-a": 0.5})
    collector = WorkerCollector("gpu0@here", lambda: counts, lambda: {"done": 2, "gave up": 1}, lambda: usage)
    port = free_port()
    end = serve_metrics(collector, "127.0.0.1", port)
    try:
        first = by_labels(scrape(port))
        counts.append(ModelCounts("b", 0, BatcherStats(rows=5), {}))
        second = by_labels(scrape(port))
    finally:
        end()
    assert first["sciqueue_worker_rows_total", "a"] == 7
    assert first["sciqueue_worker_split_micro_batches_total", "a"] == 3
    assert first["sciqueue_worker_padded_tokens_total", "a"] == 16
    assert first["sciqueue_worker_waiting_rows", "a"] == 2
    assert first["sciqueue_worker_model_bytes", "a"] == 100
    assert first["sciqueue_worker_queued_seconds_total", "b"] == 0.5
    assert (first["sciqueue_worker_rows_total", "b"], second["sciqueue_worker_rows_total", "b"]) == (1, 6)
    assert first["sciqueue_worker_batches_total", "gave up"] == 1
    assert first["sciqueue_worker_resident_bytes", "gpu0@here"] == 5
    assert first["sciqueue_worker_memory_bytes", "GPU-a", "gpu0@here"] == 80
    assert first["sciqueue_worker_memory_free_bytes", "GPU-a", "gpu0@here"] == 8
    assert first["sciqueue_worker_memory_free_bytes", "cpu", "gpu0@here"] == 32
    assert first["sciqueue_worker_gpu_busy_ratio", "GPU-a", "gpu0@here"] == 0.5


def test_the_machines_memory_and_ones_own_are_read_and_a_gpu_that_is_not_there_is_missing() -> None:
    usage = read_usage("GPU-that-is-nowhere")
    assert usage.memory.keys() == {"cpu"} and not usage.busy
    assert 0 < usage.resident < usage.memory["cpu"].total
    before = read_usage("").resident
    held = bytearray(64 << 20)
    assert read_usage("").resident - before > len(held) // 2


def test_a_port_that_is_taken_costs_no_work() -> None:
    collector = WorkerCollector("cpu0@here", list, dict, lambda: read_usage(""))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        serve_metrics(collector, "127.0.0.1", taken.getsockname()[1])()
