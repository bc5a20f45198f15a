"""Batches that were running when a process died go to a queue of their own."""

from __future__ import annotations

from schemas.database import Database
from schemas.items import SUSPECTS, Task
from schemas.ledger import claims, cuts, dispatches, leases
from schemas.ledger.dispatches import LANES, Lane
from tests.integration.test_dispatcher import _job, _worker


def test_a_crashed_batch_leaves_its_tasks_queue_for_that_of_the_suspects(database: Database) -> None:
    _job(database, "crashing", rows=30)
    lease = _worker(database)
    cuts.cut(database, 10)
    with database.transaction() as connection:
        first = dispatches.waiting(connection, Lane(Task.PREDICT), 1)[0].batch
    claims.claim(database, dispatches.dispatch(database, [first], {})[0].message, lease)
    leases.report_death(database, "cpu0@test", 1)
    dispatches.expire(database)
    with database.transaction() as connection:
        lanes = {lane.queue: [found.batch for found in dispatches.waiting(connection, lane, 9)] for lane in LANES}
    assert lanes[SUSPECTS] == [first]
    assert first not in lanes[Task.PREDICT.queue]
    assert len(lanes[Task.PREDICT.queue]) == 2


def test_every_batch_belongs_to_one_lane() -> None:
    assert len({lane.queue for lane in LANES}) == len(LANES) == len(Task) + 1
