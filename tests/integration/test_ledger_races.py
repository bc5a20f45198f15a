"""Two changes of the same rows at the same moment: whichever is first, the ledger is right afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from ledger_model import (
    CANCELLED,
    DONE,
    LIVE,
    PENDING,
    QUEUED,
    RUNNING,
    answer,
    check_standing,
    entry_for,
    load,
    observe,
    records,
    worker_info,
)

from schemas.database import Database
from schemas.errors import CorpusChanged, NotFound, RowError, StaleFence
from schemas.items import ContentKind, Task
from schemas.ledger import claims, corpora, cuts, dispatches, jobs, leases
from schemas.ledger.claims import ClaimedBatch
from schemas.ledger.dispatches import Dispatched

ROUNDS = 15
ENTRY = entry_for(Task.PREDICT, rows=4)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database(database_url, size=8) as database:
        yield database


@pytest.fixture
def model(database: Database) -> int:
    return jobs.pin_model(database, ENTRY, "r1")


def opened(database: Database, model: int, rows: int = 12) -> int:
    """A job over a new corpus, cut into batches of four rows."""
    name = f"corpus-{time.monotonic_ns()}"
    corpus = load(database, name, ContentKind.MOLECULE, records(ContentKind.MOLECULE, rows))
    job, _ = jobs.open_job(database, corpus, model, ENTRY, {})
    cuts.cut(database, 99)
    return job


def batches_of(database: Database, job: int) -> list[int]:
    return sorted(observe(database).of(job))


def dispatched(database: Database, batches: list[int]) -> list[Dispatched]:
    return dispatches.dispatch(database, batches, Task.PREDICT.queue)


def claimed(database: Database, job: int, lease: int) -> ClaimedBatch:
    """The job's first batch, running."""
    sent = dispatched(database, batches_of(database, job)[:1])
    batch = claims.claim(database, sent[0].message, lease)
    assert batch is not None
    return batch


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Start all calls at the same moment; returns their results, or the exceptions they raised."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait(5)
        try:
            return call()
        except Exception as fault:
            return fault

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@contextmanager
def held(database: Database, batch: int) -> Iterator[Callable[[Callable[[], Any]], Future[Any]]]:
    """Hold a batch's row as a stuck worker does. Yields a function that starts a call and waits until it is blocked."""
    with ThreadPoolExecutor(4) as pool:

        def start(call: Callable[[], Any]) -> Future[Any]:
            before, future = blocked(database), pool.submit(call)
            deadline = time.monotonic() + 5
            while blocked(database) == before:
                assert not future.done() and time.monotonic() < deadline, "the call did not come to the lock"
                time.sleep(0.01)
            return future

        with database.transaction() as connection:
            connection.execute("SELECT 1 FROM batches WHERE id = %s FOR UPDATE", (batch,))
            yield start


def blocked(database: Database) -> int:
    with database.transaction() as connection:
        row = connection.execute("SELECT count(DISTINCT pid) AS n FROM pg_locks WHERE NOT granted").fetchone()
    assert row is not None
    return int(row["n"])


def test_a_result_at_the_moment_of_expiry_is_either_kept_or_refused(database: Database, model: int) -> None:
    for _ in range(ROUNDS):
        job, lease = opened(database, model, 4), leases.take(database, worker_info(), 3600)
        batch = claimed(database, job, lease)
        leases.close(database, lease)
        completed, expired = at_once(
            partial(claims.complete, database, batch, answer(batch)), lambda: dispatches.expire(database)
        )
        facts = observe(database)
        check_standing(facts)
        assert (completed, expired) == (None, 0) or (isinstance(completed, StaleFence) and expired == 1)
        assert facts.batches[batch.id].state is (DONE if completed is None else PENDING)


def test_a_result_at_the_moment_of_cancelling_is_either_kept_or_refused(database: Database, model: int) -> None:
    lease = leases.take(database, worker_info(), 3600)
    for _ in range(ROUNDS):
        job = opened(database, model, 12)
        batch = claimed(database, job, lease)
        completed, cancelled = at_once(
            partial(claims.complete, database, batch, answer(batch)),
            partial(jobs.cancel, database, job),
        )
        facts = observe(database)
        check_standing(facts)
        assert cancelled is None
        assert facts.batches[batch.id].state is (DONE if completed is None else CANCELLED)
        assert completed is None or isinstance(completed, StaleFence)


def test_the_same_result_twice_at_once_is_counted_once(database: Database, model: int) -> None:
    lease = leases.take(database, worker_info(), 3600)
    for _ in range(ROUNDS):
        batch = claimed(database, opened(database, model, 4), lease)
        assert at_once(*[partial(claims.complete, database, batch, answer(batch))] * 3) == [None] * 3
        check_standing(observe(database))


def test_a_message_delivered_twice_at_once_is_claimed_once(database: Database, model: int) -> None:
    lease = leases.take(database, worker_info(), 3600)
    for _ in range(ROUNDS):
        job = opened(database, model, 4)
        (sent,) = dispatched(database, batches_of(database, job))
        taken = at_once(*[partial(claims.claim, database, sent.message, lease)] * 3)
        assert sum(batch is not None for batch in taken) == 1


def test_a_batch_claimed_at_the_moment_its_lease_is_closed_comes_back(database: Database, model: int) -> None:
    for _ in range(ROUNDS):
        job, lease = opened(database, model, 4), leases.take(database, worker_info(), 3600)
        (sent,) = dispatched(database, batches_of(database, job))
        batch, _ = at_once(
            partial(claims.claim, database, sent.message, lease),
            partial(leases.close, database, lease),
        )
        assert dispatches.expire(database) == (batch is not None)
        states = {b.state for b in observe(database).of(job).values()}
        assert states == {PENDING if batch is not None else QUEUED}


def test_a_batch_is_not_handed_over_while_its_job_is_being_paused(database: Database, model: int) -> None:
    job = opened(database, model)
    first, *others = batches_of(database, job)
    dispatched(database, [first])
    with held(database, first) as start:
        pausing = start(lambda: jobs.pause(database, job))
        assert dispatched(database, others) == []
    pausing.result(10)
    check_standing(observe(database))  # a paused job has nothing under way


def test_a_batch_split_while_its_job_is_being_cancelled_leaves_no_live_halves(database: Database, model: int) -> None:
    job = opened(database, model)
    first, *_, last = batches_of(database, job)
    with held(database, first) as start:
        cancelling = start(lambda: jobs.cancel(database, job))
        splitting = start(lambda: dispatches.split(database, last))
    cancelling.result(10)
    assert splitting.result(10) is False
    assert not {b.state for b in observe(database).of(job).values()} & LIVE


def test_a_worker_stuck_in_its_transaction_holds_up_neither_expiry_nor_recall_nor_dispatch(
    database: Database, model: int
) -> None:
    lease = leases.take(database, worker_info(), 3600)
    job = opened(database, model, 24)
    runs_a, runs_b, sent_a, sent_b, waits_a, waits_b = batches_of(database, job)
    for handed in dispatched(database, [runs_a, runs_b]):
        assert claims.claim(database, handed.message, lease)
    dispatched(database, [sent_a, sent_b])
    leases.close(database, lease)
    with held(database, runs_a), held(database, sent_a), held(database, waits_a):
        assert dispatches.expire(database) == 1
        assert dispatches.recall(database) == 1
        assert [d.message.batch for d in dispatched(database, [waits_a, waits_b])] == [waits_b]
    facts = observe(database)
    assert {id: facts.batches[id].state for id in (runs_a, sent_a, waits_a)} == {
        runs_a: RUNNING,
        sent_a: QUEUED,
        waits_a: PENDING,
    }


def test_a_job_that_a_second_dispatcher_ended_and_a_retry_began_anew_is_not_ended_again(
    database: Database, model: int
) -> None:
    job = opened(database, model, 4)
    assert dispatches.fail(database, batches_of(database, job)[0], RowError.ENGINE, "it failed")
    for _ in range(ROUNDS):
        *_, retried = at_once(
            lambda: jobs.finish(database),
            lambda: jobs.finish(database),
            lambda: _retried_as_soon_as_done(database, job),
        )
        assert retried == 4
        facts = observe(database)
        check_standing(facts)
        assert facts.jobs[job].state == "running"
        (again,) = [id for id, b in facts.of(job).items() if b.state is PENDING]
        assert dispatches.fail(database, again, RowError.ENGINE, "it failed again")


def _retried_as_soon_as_done(database: Database, job: int) -> int:
    while observe(database).jobs[job].state != "done":
        time.sleep(0)
    return jobs.retry(database, job)


def test_two_loaders_of_one_corpus_do_not_mix_their_rows(database: Database) -> None:
    rows = records(ContentKind.MOLECULE, 50)
    for number in range(ROUNDS):
        corpus = corpora.ensure(database, f"shared-{number}", ContentKind.MOLECULE, "file")
        results = at_once(*[partial(corpora.append, database, corpus, rows, b"d")] * 3)
        assert sum(isinstance(result, CorpusChanged) for result in results) == 2
        assert corpora.ensure(database, corpus.name, corpus.content, "file").loaded == 50


def test_the_same_submission_twice_at_once_opens_one_job(database: Database, model: int) -> None:
    for number in range(ROUNDS):
        corpus = load(database, f"c-{number}", ContentKind.MOLECULE, [])
        results = at_once(*[partial(jobs.open_job, database, corpus, model, ENTRY, {})] * 3)
        assert len({job for job, _ in results}) == 1 and sum(new for _, new in results) == 1


def test_a_job_opened_while_its_corpus_is_deleted_keeps_the_corpus_or_is_told(database: Database, model: int) -> None:
    for number in range(ROUNDS):
        corpus = load(database, f"c-{number}", ContentKind.MOLECULE, records(ContentKind.MOLECULE, 3))
        old, _ = jobs.open_job(database, corpus, model, ENTRY, {})
        jobs.cancel(database, old)
        deleted, result = at_once(
            partial(jobs.delete, database, old),
            partial(jobs.open_job, database, corpus, model, ENTRY, {}),
        )
        assert deleted is None
        if isinstance(result, NotFound):
            continue
        new, _ = result
        assert observe(database).jobs[new].loaded == 3


def test_a_job_that_grows_at_the_moment_it_ends_is_not_done_before_its_new_rows(database: Database, model: int) -> None:
    lease = leases.take(database, worker_info(), 3600)
    for _ in range(ROUNDS):
        job = opened(database, model, 4)
        batch = claimed(database, job, lease)
        claims.complete(database, batch, answer(batch))
        reopened, _ = at_once(partial(jobs.reopen, database, job), partial(jobs.finish, database))
        assert reopened is None
        assert jobs.finish(database) == []
        facts = observe(database)
        check_standing(facts)
        assert (facts.jobs[job].state, facts.jobs[job].sealed) == ("running", False)
