"""The view `analysis.outstanding`: rows that are left, and the seconds that devices will take for them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from ledger_model import answer, entry_for, load, records, worker_info

from schemas import costs
from schemas.database import Database
from schemas.items import Task
from schemas.ledger import claims, cuts, dispatches, jobs, leases
from schemas.ledger.dispatches import Lane

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def _outstanding(database: Database) -> list[tuple[Any, ...]]:
    with database.transaction() as connection:
        rows = connection.execute("SELECT * FROM analysis.outstanding ORDER BY task").fetchall()
    return [tuple(row.values()) for row in rows]


def _open(database: Database, name: str, task: Task, rows: int, samples: int = 1) -> int:
    entry = entry_for(task, rows=2)
    corpus = load(database, name, task.content, records(task.content, rows))
    return jobs.open_job(database, corpus, jobs.pin_model(database, entry, "r1"), entry, {}, samples=samples)[0]


def _work(database: Database, task: Task, batches: int) -> None:
    """Do so many batches; each ends two seconds after the one before, and all began at once."""
    cuts.cut(database, 9)
    with database.transaction() as connection:
        waiting = dispatches.waiting(connection, Lane(task, None), batches)
    lease = leases.take(database, worker_info(), 3600)
    handed = dispatches.dispatch(database, [one.batch for one in waiting], task.queue)
    for place, sent in enumerate(handed, start=1):
        batch = claims.claim(database, sent.message, lease)
        assert batch is not None
        claims.complete(database, batch, answer(batch))
        with database.transaction() as connection:
            connection.execute(
                "UPDATE batches SET started_at = %(noon)s, finished_at = %(noon)s + %(place)s * interval '2 seconds' "
                "WHERE id = %(batch)s",
                {"noon": NOON, "place": place, "batch": batch.id},
            )


def test_nothing_is_known_of_a_model_that_has_done_nothing(database: Database) -> None:
    assert _outstanding(database) == []
    _open(database, "c", Task.PREDICT, 5)
    assert _outstanding(database) == [("predict", "sciqueue.predict", "test-predict", 5, None)]


def test_an_outcome_is_taken_to_cost_what_the_last_batches_show(database: Database) -> None:
    _open(database, "c", Task.GENERATE, 10, samples=3)
    _work(database, Task.GENERATE, 1)
    left = ("generate", "sciqueue.generate", "test-generate")
    assert _outstanding(database) == [(*left, 24, None)]  # one batch alone may have waited for its model to load
    _work(database, Task.GENERATE, 3)
    # Of the three the second and third took two seconds each, for two prompts with three samples.
    assert _outstanding(database) == [(*left, 6, pytest.approx(6 * 4 / 12))]


def test_a_new_job_costs_what_another_with_its_model_did_until_it_shows_its_own(database: Database) -> None:
    first = _open(database, "old", Task.PREDICT, 6)
    _work(database, Task.PREDICT, 3)
    assert jobs.finish(database) == [first]
    second = _open(database, "new", Task.PREDICT, 8)
    assert _outstanding(database)[0][3:] == (8, pytest.approx(8.0))
    _work(database, Task.PREDICT, 2)
    with database.transaction() as connection:
        connection.execute(
            "UPDATE batches SET finished_at = finished_at + interval '6 seconds' WHERE id = "
            "(SELECT max(id) FROM batches WHERE job_id = %s AND state = 'done')",
            (second,),
        )
    assert _outstanding(database)[0][3:] == (4, pytest.approx(4 * 8 / 2))


def test_what_workers_measured_last_counts_before_what_batches_show(database: Database) -> None:
    _open(database, "c", Task.PREDICT, 8)
    _work(database, Task.PREDICT, 2)
    costs.remember(database, 1, "a slow one", {}, 3.0)
    costs.remember(database, 1, "a fast one", {}, 0.25)
    costs.remember(database, 1, "a slow one", {})
    assert costs.recall(database, 1, "a slow one") == {}
    assert _outstanding(database)[0][3:] == (4, 12.0)  # it measured nothing new, and is the present one


def test_what_is_paused_or_has_ended_is_not_left(database: Database) -> None:
    paused, cancelled = (_open(database, name, Task.PREDICT, 3) for name in ("a", "b"))
    _open(database, "c", Task.PREDICT, 4)
    assert _outstanding(database)[0][3] == 10
    jobs.pause(database, paused)
    jobs.cancel(database, cancelled)
    assert _outstanding(database)[0][3] == 4


def test_each_model_is_told_by_itself(database: Database) -> None:
    _open(database, "c", Task.PREDICT, 4)
    other = entry_for(Task.PREDICT).model_copy(update={"name": "other"})
    corpus = load(database, "d", other.task.content, records(other.task.content, 5))
    jobs.open_job(database, corpus, jobs.pin_model(database, other, "r1"), other, {})
    costs.remember(database, 1, "cpu", {}, 0.5)
    assert sorted(_outstanding(database)) == [
        ("predict", "sciqueue.predict", "other", 5, None),
        ("predict", "sciqueue.predict", "test-predict", 4, 2.0),
    ]
