"""Batches that were running when a process died go to a queue of their own."""

from __future__ import annotations

from schemas.database import Database
from schemas.items import SUSPECTS, Task
from schemas.ledger import claims, cuts, dispatches, leases
from schemas.ledger.dispatches import Lane
from tests.integration.test_dispatcher import _job, _worker


def test_a_crashed_batch_leaves_its_tasks_queue_for_that_of_the_suspects(database: Database) -> None:
    _job(database, "crashing", rows=30)
    lease = _worker(database)
    cuts.cut(database, 10)
    with database.transaction() as connection:
        first = dispatches.waiting(connection, Lane(Task.PREDICT), 1)[0].batch
    claims.claim(database, dispatches.dispatch(database, [first], Task.PREDICT.queue)[0].message, lease)
    leases.report_death(database, "cpu0@test", 1)
    dispatches.expire(database)
    lanes = (*map(Lane, Task), Lane(None, suspects=True))
    with database.transaction() as connection:
        waiting = {lane.queue: [found.batch for found in dispatches.waiting(connection, lane, 9)] for lane in lanes}
    assert waiting[SUSPECTS] == [first]
    assert first not in waiting[Task.PREDICT.queue]
    assert len(waiting[Task.PREDICT.queue]) == 2
