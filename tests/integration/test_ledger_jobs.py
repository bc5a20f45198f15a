"""A job's life through the ledger: opened, cut, paused, cancelled, retried, finished, deleted."""

from __future__ import annotations

import pytest
from ledger_model import (
    CANCELLED,
    PENDING,
    PREDICTOR,
    QUEUED,
    RUNNING,
    answer,
    claim_all,
    entry_for,
    generator_job,
    load,
    molecules,
    observe,
    opened,
    worker_info,
)

from schemas.database import Database
from schemas.errors import Conflict, NotFound, RowError, StaleFence
from schemas.items import ContentKind, Molecule, Record, Task
from schemas.ledger import claims, cuts, dispatches, jobs, leases
from schemas.ledger.dispatches import Lane
from schemas.ledger.progress import of_job, of_jobs
from schemas.outcomes import Generation
from schemas.registry import ModelEntry
from schemas.states import JobState, Priority


@pytest.fixture
def model(database: Database) -> int:
    return jobs.pin_model(database, PREDICTOR, "r1")


@pytest.fixture
def lease(database: Database) -> int:
    return leases.take(database, worker_info(), 3600)


def sizes(database: Database, job: int) -> list[int]:
    return [len(batch.rows) for _, batch in sorted(observe(database).of(job).items())]


def test_the_same_work_is_the_same_job(database: Database, model: int) -> None:
    corpus = molecules(database)
    first, new = jobs.open_job(database, corpus, model, PREDICTOR, {"a": 1, "b": 2})
    assert new
    assert jobs.open_job(database, corpus, model, PREDICTOR, {"b": 2, "a": 1}) == (first, False)
    assert jobs.open_job(database, corpus, model, PREDICTOR, {"a": 2})[1]
    other_revision = jobs.pin_model(database, PREDICTOR, "r2")
    assert jobs.open_job(database, corpus, other_revision, PREDICTOR, {"a": 1, "b": 2})[1]
    other_corpus = molecules(database, name="other")
    assert jobs.open_job(database, other_corpus, model, PREDICTOR, {"a": 1, "b": 2})[1]


def test_the_same_work_is_done_again_when_asked_or_after_a_cancel(database: Database, model: int) -> None:
    corpus = molecules(database)
    first, _ = jobs.open_job(database, corpus, model, PREDICTOR, {})
    second, new = jobs.open_job(database, corpus, model, PREDICTOR, {}, again=True)
    assert new and second != first
    jobs.cancel(database, second)
    assert jobs.open_job(database, corpus, model, PREDICTOR, {}) == (first, False)
    jobs.cancel(database, first)
    assert jobs.open_job(database, corpus, model, PREDICTOR, {})[1]


def test_a_pinned_model_is_the_same_while_its_revision_is(database: Database, model: int) -> None:
    assert jobs.pin_model(database, PREDICTOR, "r1") == model
    assert jobs.pin_model(database, PREDICTOR, "r2") != model


def test_a_job_needs_a_corpus_that_exists(database: Database, model: int) -> None:
    with pytest.raises(NotFound, match="no corpus 77"):
        jobs.open_job(database, 77, model, PREDICTOR, {})


def test_batches_are_cut_by_rows(database: Database, model: int) -> None:
    job = opened(database, model, 10)
    assert cuts.cut(database, 99) == 3
    assert sizes(database, job) == [4, 4, 2]
    assert cuts.cut(database, 99) == 0


def test_batches_are_cut_by_characters_and_a_larger_row_goes_alone(database: Database, model: int) -> None:
    lengths = [5, 5, 1, 40, 9, 1, 1]
    corpus = load(database, "sized", ContentKind.MOLECULE, [Record(Molecule("C" * length)) for length in lengths])
    entry: ModelEntry = entry_for(Task.PREDICT, rows=100, size=10)
    job, _ = jobs.open_job(database, corpus, model, entry, {})
    cuts.cut(database, 99)
    rows = [batch.rows for _, batch in sorted(observe(database).of(job).items())]
    assert rows == [(0, 1), (2,), (3,), (4, 5), (6,)]


def test_no_more_is_cut_than_is_wanted_ahead(database: Database, model: int) -> None:
    job = opened(database, model, 8)
    cuts.cut(database, 2)
    load_more = molecules(database, 4, name="second")
    second, _ = jobs.open_job(database, load_more, model, PREDICTOR, {})
    assert cuts.cut(database, 2) == 1
    assert (sizes(database, job), sizes(database, second)) == ([4, 4], [4])


def test_a_pause_takes_back_what_is_queued_and_lets_finish_what_runs(
    database: Database, model: int, lease: int
) -> None:
    job = opened(database, model, 8)
    running, queued = claim_all(database, lease)
    claims.release(database, queued)
    with database.transaction() as connection:
        waiting = dispatches.waiting(connection, Lane(Task.PREDICT, None), 9)
    (sent,) = dispatches.dispatch(database, [w.batch for w in waiting], Task.PREDICT.queue)
    jobs.pause(database, job, "the model is missing")
    assert {b.state for b in observe(database).of(job).values()} == {RUNNING, PENDING}
    assert claims.claim(database, sent.message, lease) is None
    assert claim_all(database, lease) == []
    claims.complete(database, running, answer(running))
    assert (of_job(database, job).reason, of_job(database, job).done) == ("the model is missing", 4)
    jobs.resume(database, job)
    assert of_job(database, job).reason is None
    (again,) = claim_all(database, lease)
    claims.complete(database, again, answer(again))
    assert jobs.finish(database) == [job]


def test_priority_is_the_share_of_a_job(database: Database, model: int) -> None:
    corpus = molecules(database)
    jobs.open_job(database, corpus, model, PREDICTOR, {"is": "high"}, priority=Priority.HIGH)
    jobs.open_job(database, corpus, model, PREDICTOR, {"is": "low"}, priority=Priority.LOW)
    cuts.cut(database, 1)
    with database.transaction() as connection:
        weights = {w.weight for w in dispatches.waiting(connection, Lane(Task.PREDICT, None), 1)}
    assert weights == {16.0, 1.0}


def test_a_cancelled_job_keeps_its_outcomes_and_refuses_late_ones(database: Database, model: int, lease: int) -> None:
    job = opened(database, model, 12)
    early, late, _ = claim_all(database, lease)
    claims.complete(database, early, answer(early))
    jobs.cancel(database, job)
    with pytest.raises(StaleFence):
        claims.complete(database, late, answer(late))
    assert claims.release(database, late) is False
    claims.complete(database, early, answer(early))  # its repetition still finds itself done
    progress = of_job(database, job)
    assert (progress.state, progress.done, progress.outstanding) == (JobState.CANCELLED, 4, 0)
    assert sum(b.state is CANCELLED for b in observe(database).of(job).values()) == 2


def test_outcomes_that_do_not_answer_a_batch_row_by_row_are_refused(database: Database, lease: int) -> None:
    generator_job(database, 2)
    (batch,) = claim_all(database, lease, Task.GENERATE)
    right = answer(batch)
    doubled = Generation(0, 0, "CC", True, 1.0, 2, seed=1)
    for wrong in (right[:-1], [*right, doubled], [right[0], *right[:-1]], [doubled, doubled, *right[2:]]):
        with pytest.raises(ValueError, match="one by one"):
            claims.complete(database, batch, wrong)
    claims.complete(database, batch, right[::-1])


def test_a_job_over_a_corpus_without_rows_ends_once_it_is_sealed(database: Database, model: int) -> None:
    empty = load(database, "empty", ContentKind.MOLECULE, [])
    loading = load(database, "loading", ContentKind.MOLECULE, [], seal=False)
    ended, _ = jobs.open_job(database, empty, model, PREDICTOR, {})
    jobs.open_job(database, loading, model, PREDICTOR, {})
    assert jobs.finish(database) == [ended]
    assert of_job(database, ended).finished_at is not None


def test_deleting_a_job_leaves_nothing_of_it_but_a_corpus_that_others_use(
    database: Database, model: int, lease: int
) -> None:
    first = opened(database, model, 4)
    corpus = of_job(database, first).corpus_id
    second, _ = jobs.open_job(database, corpus, model, PREDICTOR, {}, again=True)
    for batch in claim_all(database, lease):
        claims.complete(database, batch, answer(batch))
    jobs.finish(database)
    jobs.delete(database, first)
    assert [progress.id for progress in of_jobs(database)] == [second]
    assert rows_in(database, "predictions", "items") == {"predictions": 4, "items": 4}
    jobs.delete(database, second)
    tables = ("jobs", "batches", "tallies", "predictions", "corpora", "items")
    assert rows_in(database, *tables) == dict.fromkeys(tables, 0)


def rows_in(database: Database, *tables: str) -> dict[str, int]:
    with database.transaction() as connection:
        counts = {table: connection.execute(f"SELECT count(*) AS n FROM {table}").fetchone() for table in tables}
    return {table: row["n"] for table, row in counts.items() if row is not None}


def test_changes_that_a_jobs_state_does_not_allow_are_refused(database: Database, model: int) -> None:
    live, done = opened(database, model), opened(database, model, 0, name="empty")
    jobs.finish(database)
    for refused in (jobs.pause, jobs.resume, jobs.cancel):
        with pytest.raises(Conflict, match="is done"):
            refused(database, done)
    for refused_live in (jobs.retry, jobs.delete):
        with pytest.raises(Conflict, match="is running"):
            refused_live(database, live)
    for change in (jobs.pause, jobs.resume, jobs.cancel, jobs.retry, jobs.delete, of_job):
        with pytest.raises(NotFound, match="no job 999"):
            change(database, 999)


def test_a_batch_that_is_queued_is_not_split_or_failed(database: Database, model: int, lease: int) -> None:
    opened(database, model, 4)
    (batch,) = claim_all(database, lease)
    assert not dispatches.split(database, batch.id)
    assert not dispatches.fail(database, batch.id, RowError.WORKER_CRASH, "it crashes")
    assert not dispatches.split(database, 999)
    assert QUEUED not in {b.state for b in observe(database).batches.values()}


def test_a_done_job_grows_on_and_computes_only_the_new_rows(database: Database, model: int, lease: int) -> None:
    job = opened(database, model, 4)
    for batch in claim_all(database, lease):
        claims.complete(database, batch, answer(batch))
    assert jobs.finish(database) == [job]
    jobs.reopen(database, job)
    assert jobs.finish(database) == []
    standing = of_job(database, job)
    assert (standing.state, standing.sealed, standing.outstanding) == (JobState.RUNNING, False, 0)
    load(database, "corpus", ContentKind.MOLECULE, [Record(Molecule("CC"))] * 3)
    (batch,) = claim_all(database, lease)
    assert [item.row for item in batch.items] == [4, 5, 6]
    assert jobs.finish(database) == []
    claims.complete(database, batch, answer(batch))
    assert jobs.finish(database) == [job]
    standing = of_job(database, job)
    assert (standing.total, standing.done, standing.state) == (7, 7, JobState.DONE)


def test_a_job_does_not_grow_once_cancelled_or_while_another_stands_on_its_corpus(
    database: Database, model: int
) -> None:
    job = opened(database, model)
    corpus = of_job(database, job).corpus_id
    other, _ = jobs.open_job(database, corpus, model, PREDICTOR, {"other": 1})
    with pytest.raises(Conflict, match=f"job {other} stands on the same corpus"):
        jobs.reopen(database, job)
    assert of_job(database, job).sealed
    jobs.cancel(database, other)
    jobs.reopen(database, job)
    jobs.reopen(database, job)
    assert not of_job(database, job).sealed
    jobs.cancel(database, job)
    with pytest.raises(Conflict, match="cancelled"):
        jobs.reopen(database, job)
    with pytest.raises(NotFound):
        jobs.reopen(database, 77)
