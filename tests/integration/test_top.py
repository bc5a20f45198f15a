"""`sciqueue top` over a real database; workers are leases, and batches are taken and completed through the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import sciqueue, submitted
from simulated_worker import answer, work_off

from schemas.database import Database
from schemas.items import Task
from schemas.ledger import cuts, fleet, leases

pytestmark = pytest.mark.usefixtures("command_settings")


def _lease(database: Database, worker: str, slots: int = 8) -> int:
    return leases.take(database, leases.WorkerInfo(worker, "cuda", 1, [Task.PREDICT.queue], slots, {}), 60.0)


def test_without_workers_and_jobs_top_says_so() -> None:
    shown = sciqueue("top").out
    assert "no worker is live" in shown
    assert "no job is running or paused" in shown


def test_top_shows_devices_queues_and_jobs(library: Path, database: Database) -> None:
    lease = _lease(database, "gpu0@lab")
    job = submitted(library, "--model", "fake-predict")
    cuts.cut(database, 9)
    with database.transaction() as connection:
        connection.execute(
            "UPDATE batches SET state = 'running', lease_id = %s, queue = %s", (lease, Task.PREDICT.queue)
        )
    lines = [line.split() for line in sciqueue("top", "--once").out.splitlines()]
    assert ["gpu0@lab", "1/8", "0/s", "predict"] in [line[:4] for line in lines]
    assert ["predict", "4", "1", "0", "8"] in lines
    assert not any(line[:1] in (["summarize"], ["suspects"]) for line in lines)  # nobody is there, nothing to do
    assert any(line[:1] == [f"#{job}"] for line in lines)


def test_top_shows_work_that_no_worker_is_there_for(library: Path) -> None:
    submitted(library, "--model", "fake-predict")
    lines = [line.split() for line in sciqueue("top", "--once").out.splitlines()]
    assert ["predict", "4", "1", "0", "none", "live"] in lines


def test_a_line_of_top_has_a_width_to_read_even_in_a_pipe(library: Path) -> None:
    submitted(library, "--model", "fake-predict")
    assert max(map(len, sciqueue("top").out.splitlines())) < 150


def test_a_workers_rate_is_that_of_its_last_seconds(library: Path, database: Database) -> None:
    submitted(library, "--model", "fake-predict")
    work_off(database, Task.PREDICT, answer)
    with database.transaction() as connection:
        connection.execute("UPDATE leases SET closed_at = NULL, closed_for = NULL")  # it stopped when it was through
    (one,) = fleet.at_work(database, 100.0)
    assert (one.running, one.rate) == (0, pytest.approx(4 / 100))
    with database.transaction() as connection:
        connection.execute("UPDATE batches SET finished_at = finished_at - interval '200 s'")
    assert fleet.at_work(database, 100.0)[0].rate == 0.0
