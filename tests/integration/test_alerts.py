"""Every metric that the alert rules name is told by a dispatcher or a worker."""

from __future__ import annotations

import re
from pathlib import Path

from ledger_model import entry_for, load, records
from prometheus_client import CollectorRegistry, generate_latest

from producer.metrics import DispatcherCollector
from schemas.database import Database
from schemas.items import Task
from schemas.ledger import jobs
from workers.counts import BatcherStats
from workers.metrics import WorkerCollector
from workers.tally import ModelCounts

RULES = Path(__file__).parents[2] / "docker" / "monitoring" / "alerts.yml"


def test_alerts_name_only_metrics_that_are_told(database: Database) -> None:
    entry = entry_for(Task.PREDICT)
    corpus = load(database, "c", entry.task.content, records(entry.task.content, 2))
    jobs.open_job(database, corpus, jobs.pin_model(database, entry, "r1"), entry, {})
    registry = CollectorRegistry()
    registry.register(DispatcherCollector(database))
    registry.register(WorkerCollector(lambda: [ModelCounts("a", 0, BatcherStats(), {})]))
    told = set(re.findall(r"^(sciqueue_\w+)", generate_latest(registry).decode(), re.M))
    named = set(re.findall(r"sciqueue_\w+", "".join(re.findall(r"expr:.*", RULES.read_text()))))
    assert len(named) >= 5
    assert named <= told
