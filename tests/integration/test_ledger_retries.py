"""A retry computes a done job's failures again, and counts and keeps everything else as it was."""

from __future__ import annotations

from functools import partial

import pytest
from ledger_model import (
    PENDING,
    PREDICTOR,
    answer,
    claim_all,
    generator_job,
    observe,
    opened,
    worker_info,
)

from schemas.database import Database
from schemas.errors import RowError
from schemas.items import Task
from schemas.ledger import claims, dispatches, jobs, leases
from schemas.ledger.progress import failures_by_code, of_job
from schemas.states import JobState


@pytest.fixture
def model(database: Database) -> int:
    return jobs.pin_model(database, PREDICTOR, "r1")


@pytest.fixture
def lease(database: Database) -> int:
    return leases.take(database, worker_info(), 3600)


def test_a_retry_replaces_failures_and_nothing_else(database: Database, model: int, lease: int) -> None:
    job = opened(database, model, 8)
    for batch in claim_all(database, lease):
        claims.complete(database, batch, answer(batch, lambda row, _: RowError.ENGINE if row in {0, 5} else None))
    jobs.finish(database)
    assert of_job(database, job).failed == 3  # two, and the row that was rejected
    before = observe(database).outcomes
    assert jobs.retry(database, job) == 2
    assert (of_job(database, job).retrying, of_job(database, job).done) == (2, 6)
    (batch,) = claim_all(database, lease)
    assert [item.row for item in batch.items] == [0, 5]
    claims.complete(database, batch, answer(batch, lambda row, _: RowError.TIMEOUT if row == 5 else None))
    assert jobs.finish(database) == [job]
    after = observe(database).outcomes
    assert {key: after[key] for key in after if before[key] != after[key]} == {
        (job, 0, 0): (batch.id, None),
        (job, 5, 0): (batch.id, "timeout"),
    }
    with database.transaction() as connection:
        assert failures_by_code(connection, job, Task.PREDICT) == {"empty_smiles": 1, "timeout": 1}


def test_a_retry_of_one_sample_keeps_the_other(database: Database, lease: int) -> None:
    job = generator_job(database)
    (batch,) = claim_all(database, lease, Task.GENERATE)
    claims.complete(database, batch, answer(batch, lambda row, s: RowError.ENGINE if (row, s) == (2, 1) else None))
    jobs.finish(database)
    assert jobs.retry(database, job) == 1
    (again,) = claim_all(database, lease, Task.GENERATE)
    assert again.retry and again.due == 2  # a row is computed as a whole
    claims.complete(database, again, answer(again))
    outcomes = observe(database).outcomes
    assert (outcomes[job, 2, 0], outcomes[job, 2, 1]) == ((batch.id, None), (again.id, None))
    progress = of_job(database, job)
    assert (progress.succeeded, progress.failed, progress.retrying) == (4, 2, 0)


def test_a_retry_by_code_counts_all_failures_of_its_rows(database: Database, lease: int) -> None:
    job = generator_job(database)
    (batch,) = claim_all(database, lease, Task.GENERATE)
    claims.complete(database, batch, answer(batch, lambda _, s: RowError.ENGINE if s else RowError.TIMEOUT))
    jobs.finish(database)
    assert jobs.retry(database, job, ["out_of_memory"]) == 0
    assert of_job(database, job).state is JobState.DONE
    assert jobs.retry(database, job, ["timeout"]) == 4
    (again,) = claim_all(database, lease, Task.GENERATE)
    claims.complete(database, again, answer(again))
    progress = of_job(database, job)
    assert (progress.succeeded, progress.failed, progress.retrying) == (4, 2, 0)


def test_retries_can_follow_each_other(database: Database, model: int, lease: int) -> None:
    """The tallies are spread over shards, of which only the sum returns to zero."""
    job = opened(database, model, 16)
    for failing in ({0, 4, 8, 12}, {0, 4, 8}, {4}, set[int]()):
        for batch in claim_all(database, lease):
            failures = dict.fromkeys(failing, RowError.ENGINE)
            claims.complete(database, batch, answer(batch, partial(_failure_in, failures)))
        jobs.finish(database)
        progress = of_job(database, job)
        assert (progress.failed, progress.retrying, progress.done) == (len(failing) + 1, 0, 16)
        assert jobs.retry(database, job) == len(failing)
        assert of_job(database, job).retrying == len(failing)


def _failure_in(failures: dict[int, RowError], row: int, _: int) -> RowError | None:
    return failures.get(row)


def test_a_retry_that_crashes_leaves_its_rows_failed_once(database: Database, model: int, lease: int) -> None:
    job = opened(database, model, 8)
    for batch in claim_all(database, lease):
        claims.complete(database, batch, answer(batch, lambda row, _: RowError.ENGINE if row in {1, 2} else None))
    jobs.finish(database)
    jobs.retry(database, job)
    for _ in range(2):
        (batch,) = claim_all(database, lease)
        claims.give_up(database, batch)
    with database.transaction() as connection:
        ((suspect, rows),) = dispatches.suspects(connection, 2)
    assert rows == 2 and dispatches.split(database, suspect)
    halves = [id for id, b in observe(database).of(job).items() if b.state is PENDING]
    assert all(dispatches.fail(database, half, RowError.WORKER_CRASH, "it crashes") for half in halves)
    assert jobs.finish(database) == [job]
    progress = of_job(database, job)
    assert (progress.succeeded, progress.failed, progress.retrying) == (5, 3, 0)
