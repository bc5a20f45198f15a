"""A real scrape of what a dispatcher tells of the jobs in the ledger."""

from __future__ import annotations

import socket
import urllib.request

from ledger_model import entry_for, load, records
from prometheus_client.parser import text_string_to_metric_families

from producer.metrics import DispatcherCollector
from schemas.database import Database
from schemas.exporter import serve_metrics
from schemas.items import Task
from schemas.ledger import cuts, jobs


def _scrape(database: Database) -> dict[tuple[str, ...], float]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    end = serve_metrics(DispatcherCollector(database), "127.0.0.1", port)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
    finally:
        end()
    return {
        (s.name, *(s.labels[label] for label in sorted(s.labels))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def test_jobs_are_told_until_an_hour_after_their_end(database: Database) -> None:
    entry = entry_for(Task.PREDICT)
    corpus = load(database, "c", entry.task.content, records(entry.task.content, 5, rejected=lambda row: row == 1))
    job, _ = jobs.open_job(database, corpus, jobs.pin_model(database, entry, "r1"), entry, {})
    cuts.cut(database, 9)
    labels = (str(job), entry.name, "predict")
    told = _scrape(database)
    assert told["sciqueue_ledger_up",] == 1
    assert told["sciqueue_live_workers",] == 0
    assert told["sciqueue_jobs", "running"] == 1
    assert told["sciqueue_batches", "pending"] >= 1
    assert told["sciqueue_job_outstanding_rows", *labels] + told["sciqueue_job_rows_total", *labels] == 5
    with database.transaction() as connection:
        connection.execute("UPDATE jobs SET state = 'cancelled', finished_at = now() - interval '50 minutes'")
    assert _scrape(database)["sciqueue_job_outstanding_rows", *labels] == 0
    with database.transaction() as connection:
        connection.execute("UPDATE jobs SET finished_at = now() - interval '61 minutes'")
    assert ("sciqueue_job_outstanding_rows", *labels) not in _scrape(database)
