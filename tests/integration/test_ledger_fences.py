"""Only the present holder of a batch can change it: not an older message, an older claim, or a closed lease."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ledger_model import (
    DONE,
    PENDING,
    PREDICTOR,
    QUEUED,
    RUNNING,
    Batch,
    answer,
    claim_all,
    observe,
    opened,
    worker_info,
)

from schemas.database import Database
from schemas.errors import RowError, StaleFence
from schemas.items import Task
from schemas.ledger import claims, cuts, dispatches, jobs, leases
from schemas.ledger.claims import ClaimedBatch
from schemas.ledger.dispatches import Lane
from schemas.message import BatchMessage


@pytest.fixture
def job(database: Database, lease: int) -> int:
    return opened(database, jobs.pin_model(database, PREDICTOR, "r1"), 4)


@pytest.fixture
def lease(database: Database) -> int:
    return leases.take(database, worker_info(), 3600)


def send(database: Database) -> BatchMessage:
    """Hand the one batch over."""
    cuts.cut(database, 9)
    with database.transaction() as connection:
        waiting = dispatches.waiting(connection, Lane(Task.PREDICT, None), 1)
    (sent,) = dispatches.dispatch(database, [w.batch for w in waiting], Task.PREDICT.queue)
    return sent.message


def standing(database: Database) -> Batch:
    (batch,) = observe(database).batches.values()
    return batch


def crashed(database: Database, batch: ClaimedBatch) -> None:
    (lease,) = {one["id"] for one in leases.live(database)}
    leases.close(database, lease)
    assert dispatches.expire(database) == 1


TAKEN_BACK: dict[str, Callable[[Database, ClaimedBatch], object]] = {
    "released": claims.release,
    "given up": claims.give_up,
    "expired": crashed,
}


@pytest.mark.parametrize("how", TAKEN_BACK)
def test_an_answer_of_the_first_holder_is_refused_while_a_second_holds_the_batch(
    database: Database, job: int, lease: int, how: str
) -> None:
    (first,) = claim_all(database, lease)
    TAKEN_BACK[how](database, first)
    second_lease = leases.take(database, worker_info("second@host"), 3600)
    (second,) = claim_all(database, second_lease)
    for late in (claims.release, claims.give_up):
        assert late(database, first) is False
    with pytest.raises(StaleFence):
        claims.complete(database, first, answer(first, lambda *_: RowError.ENGINE))
    batch = standing(database)
    assert (batch.state, batch.lease, batch.fence) == (RUNNING, second_lease, second.fence)
    assert observe(database).outcomes == {}
    claims.complete(database, second, answer(second))
    with pytest.raises(StaleFence):
        claims.complete(database, first, answer(first, lambda *_: RowError.ENGINE))
    assert (standing(database).state, observe(database).jobs[job].succeeded) == (DONE, 3)


@pytest.mark.parametrize("back", ["recalled", "paused"])
def test_a_message_of_an_older_hand_over_claims_nothing(database: Database, job: int, lease: int, back: str) -> None:
    old = send(database)
    if back == "recalled":
        assert dispatches.recall(database, Task.PREDICT.queue) == 1
    else:
        jobs.pause(database, job)
        jobs.resume(database, job)
    assert claims.claim(database, old, lease) is None
    new = send(database)
    assert new.fence > old.fence
    assert claims.claim(database, old, lease) is None
    assert standing(database).state is QUEUED
    assert claims.claim(database, new, lease) is not None


def test_a_closed_lease_claims_nothing(database: Database, job: int, lease: int) -> None:
    message = send(database)
    leases.close(database, lease)
    assert claims.claim(database, message, lease) is None
    assert standing(database).state is QUEUED


def test_messages_of_another_task_or_sent_just_now_are_not_recalled(database: Database, job: int) -> None:
    send(database)
    assert dispatches.recall(database, Task.GENERATE.queue) == 0
    assert dispatches.recall(database, Task.PREDICT.queue, older_than=3600) == 0
    assert dispatches.recall(database) == 1


def test_only_a_death_counts_as_a_crash(database: Database, job: int, lease: int) -> None:
    (batch,) = claim_all(database, lease)
    claims.release(database, batch)
    claim_all(database, lease)
    leases.close(database, lease)
    assert dispatches.expire(database) == 1
    assert (standing(database).state, standing(database).crashes) == (PENDING, 0)
    second = leases.take(database, worker_info("second@host"), 3600)
    claim_all(database, second)
    leases.report_death(database, "second@host", worker_info().pid)
    assert dispatches.expire(database) == 1
    assert (standing(database).state, standing(database).crashes) == (PENDING, 1)
