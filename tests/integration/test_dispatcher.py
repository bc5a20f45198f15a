"""The dispatcher on real PostgreSQL and a real broker. Workers are only leases here: nobody consumes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from simulated_worker import answer

from producer import dispatcher as module
from producer.broker import Broker
from producer.dispatcher import Dispatcher
from producer.submission import submit
from schemas.database import Database
from schemas.items import Task
from schemas.ledger import claims, jobs, leases, progress
from schemas.message import BatchMessage
from schemas.registry import load_registry
from schemas.states import JobState, Priority
from tests.acceptance.lab import until

SLOTS = 8
WINDOW = 1  # a quarter of eight slots, but for the place that is kept for another job


@pytest.fixture
def dispatcher(database: Database, broker: Broker) -> Dispatcher:
    return Dispatcher(database, broker, lease_seconds=2.0)


def _worker(database: Database, task: Task = Task.PREDICT, slots: int = SLOTS) -> int:
    return leases.take(database, leases.WorkerInfo("cpu0@test", "cpu", 1, [task.queue], slots, {}), 3600.0)


def _job(database: Database, name: str, rows: int = 1000, **options: Priority) -> int:
    molecules = ("C" * (1 + row % 9) for row in range(rows))
    made = submit(
        database,
        load_registry(),
        molecules,
        task=Task.PREDICT,
        model="fake-predict",
        name=name,
        batch_rows=10,
        **options,
    )
    return made.job


def _states(database: Database, job: int) -> dict[str, int]:
    with database.transaction() as connection:
        rows = connection.execute(
            "SELECT state, count(*) AS n FROM batches WHERE job_id = %s GROUP BY state", (job,)
        ).fetchall()
    return {row["state"]: row["n"] for row in rows}


def _look(dispatcher: Dispatcher, times: int = 5) -> None:
    for _ in range(times):
        dispatcher._cared_at = 0.0  # look for what was lost at every tick, not twice a second
        dispatcher.tick()


def test_without_a_worker_nothing_is_sent(dispatcher: Dispatcher, broker: Broker, database: Database) -> None:
    job = _job(database, "nobody")
    _look(dispatcher)
    assert broker.depth(Task.PREDICT.queue) == 0
    assert set(_states(database, job)) == {"pending"}


def test_messages_do_not_multiply_while_nobody_consumes(
    dispatcher: Dispatcher, broker: Broker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOST_AFTER", 0.0)
    _worker(database)
    job = _job(database, "idle worker")
    _look(dispatcher, 20)
    assert broker.depth(Task.PREDICT.queue) == WINDOW
    assert _states(database, job)["queued"] == WINDOW


def test_an_emptied_broker_is_noticed_and_every_message_sent_again_under_a_new_fence(
    dispatcher: Dispatcher, broker: Broker, broker_url: str, database: Database
) -> None:
    lease = _worker(database)
    _job(database, "emptied")
    _look(dispatcher)
    redis.Redis.from_url(broker_url).flushall()
    _look(dispatcher)
    assert broker.depth(Task.PREDICT.queue) == WINDOW
    with database.transaction() as connection:
        queued = connection.execute("SELECT id, fence FROM batches WHERE state = 'queued' ORDER BY id").fetchall()
    assert {row["fence"] for row in queued} == {3}  # sent, taken back, sent again
    assert claims.claim(database, BatchMessage(queued[0]["id"], 1), lease) is None
    assert claims.claim(database, BatchMessage(queued[0]["id"], 3), lease) is not None


def test_a_message_that_left_its_queue_unclaimed_is_sent_again(
    dispatcher: Dispatcher, broker: Broker, broker_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _worker(database)
    _job(database, "taken along")
    _look(dispatcher)
    redis.Redis.from_url(broker_url).delete(Task.PREDICT.queue)  # as a worker does that dies before its claim
    _look(dispatcher)
    assert broker.depth(Task.PREDICT.queue) == 0  # too early to tell
    monkeypatch.setattr(module, "LOST_AFTER", 0.0)
    _look(dispatcher)
    assert broker.depth(Task.PREDICT.queue) == WINDOW


def test_the_window_is_shared_by_priority(dispatcher: Dispatcher, database: Database) -> None:
    lease = _worker(database, slots=3)  # so few that none is kept free: nothing is completed here
    low = _job(database, "low", rows=3000, priority=Priority.LOW)
    high = _job(database, "high", rows=3000, priority=Priority.HIGH)
    handed = {low: 0, high: 0}
    for _ in range(120):
        dispatcher.tick()
        with database.transaction() as connection:
            queued = connection.execute("SELECT id, fence, job_id FROM batches WHERE state = 'queued'").fetchall()
        for row in queued:
            batch = claims.claim(database, BatchMessage(row["id"], row["fence"]), lease)
            assert batch is not None
            handed[row["job_id"]] += 1
    assert handed[low] >= 5
    assert handed[high] / handed[low] == pytest.approx(16, rel=0.35)


def test_a_paused_job_sends_nothing_and_resumes_where_it_was(dispatcher: Dispatcher, database: Database) -> None:
    _worker(database)
    job = _job(database, "paused")
    _look(dispatcher)
    jobs.pause(database, job)
    _look(dispatcher)
    assert set(_states(database, job)) == {"pending"}
    jobs.resume(database, job)
    _look(dispatcher)
    assert _states(database, job)["queued"] == WINDOW


def test_one_leads_and_a_standby_takes_over_when_it_is_silent(broker: Broker, database: Database) -> None:
    first, second = Dispatcher(database, broker, 1.0), Dispatcher(database, broker, 1.0)
    second._holder = "another:1"
    first.tick()
    assert first._lead()
    assert not second._lead()
    until(second._lead, 5.0)
    first._led_until = 0.0
    assert not first._lead()


@contextmanager
def _running(database: Database, broker: Broker) -> Iterator[None]:
    """A dispatcher that runs in a thread of its own."""
    dispatcher = Dispatcher(database, broker, lease_seconds=200.0)
    thread = threading.Thread(target=dispatcher.run)
    thread.start()
    try:
        yield
    finally:
        dispatcher.stop.set()
        with database.transaction() as connection:
            connection.execute("NOTIFY sciqueue")
        thread.join(20.0)
    assert not thread.is_alive()


def test_a_submission_wakes_an_idle_dispatcher_and_an_empty_corpus_is_done_at_once(
    database: Database, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_TICK", 60.0)  # only a notice can wake it in time
    with _running(database, broker):
        job = submit(database, load_registry(), [], task=Task.PREDICT, model="fake-predict", name="empty").job
        until(lambda: progress.of_job(database, job).state is JobState.DONE, 20.0)


def test_a_jobs_last_batch_wakes_the_dispatcher(
    database: Database, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STEADY_TICK", 60.0)
    lease = _worker(database)
    with _running(database, broker):
        job = _job(database, "one batch", rows=10)
        until(lambda: _states(database, job) == {"queued": 1}, 20.0)
        time.sleep(2 * module.BUSY_TICK)  # it looks once more, and then sleeps
        with database.transaction() as connection:
            sent = connection.execute("SELECT id, fence FROM batches").fetchone()
        assert sent is not None
        batch = claims.claim(database, BatchMessage(sent["id"], sent["fence"]), lease)
        assert batch is not None
        claims.complete(database, batch, [answer(item) for item in batch.items])
        until(lambda: progress.of_job(database, job).state is JobState.DONE, 20.0)


def test_a_message_overtaken_by_later_ones_is_lost_and_sent_again(
    dispatcher: Dispatcher, broker: Broker, broker_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OVERTAKEN_AFTER", 0.05)
    monkeypatch.setattr(module, "LEAST_WINDOW", 4)
    lease = _worker(database)
    _job(database, "overtaken")
    _look(dispatcher, 2)
    queue = redis.Redis.from_url(broker_url)
    queue.rpop(Task.PREDICT.queue)  # the first message, taken by a worker that died before its claim
    with database.transaction() as connection:
        sent = connection.execute("SELECT id, fence FROM batches WHERE state = 'queued' ORDER BY id").fetchall()
    time.sleep(0.1)
    claims.claim(database, BatchMessage(sent[1]["id"], 1), lease)  # makes room for a later one
    _look(dispatcher, 2)
    with database.transaction() as connection:
        later = connection.execute("SELECT max(id) AS id FROM batches WHERE state = 'queued'").fetchone()
    assert later is not None
    claims.claim(database, BatchMessage(later["id"], 1), lease)
    _look(dispatcher, 2)
    with database.transaction() as connection:
        first = connection.execute("SELECT fence FROM batches WHERE id = %s", (sent[0]["id"],)).fetchone()
    assert first == {"fence": 3}  # taken back and sent again, although the queue was never empty


def test_a_slot_of_each_worker_stays_free_for_a_job_that_has_none(dispatcher: Dispatcher, database: Database) -> None:
    leased = [_worker(database), _worker(database)]
    large = _job(database, "large", rows=3000)
    for _ in range(2 * SLOTS):
        _claim_all(dispatcher, database, leased)
    assert _states(database, large)["running"] == 2 * (SLOTS - 1)
    small = _job(database, "small", rows=10)
    _claim_all(dispatcher, database, leased)
    assert _states(database, small) == {"running": 1}


def _claim_all(dispatcher: Dispatcher, database: Database, leased: list[int]) -> None:
    """Look, and have the workers take what was sent, as the one that holds less does."""
    _look(dispatcher, 1)
    with database.transaction() as connection:
        sent = connection.execute("SELECT id, fence FROM batches WHERE state = 'queued' ORDER BY id").fetchall()
    for row in sent:
        holds = {one["id"]: one["running"] for one in leases.live(database)}
        assert claims.claim(database, BatchMessage(row["id"], row["fence"]), min(leased, key=holds.__getitem__))
