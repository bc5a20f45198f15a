"""A real scrape of what a dispatcher tells of itself, and of the jobs in the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from ledger_model import answer, entry_for, load, records, worker_info

from producer import metrics as module
from producer.broker import Broker
from producer.dispatcher import Dispatcher
from producer.metrics import DispatcherCollector
from producer.servers.endpoint import free_port
from schemas.database import Database
from schemas.errors import RowError
from schemas.exporter import serve_metrics
from schemas.items import Task
from schemas.ledger import claims, cuts, dispatches, jobs, leases
from schemas.ledger.claims import ClaimedBatch
from schemas.ledger.dispatches import Lane
from tests.acceptance.lab import until
from tests.scraping import by_labels, scrape

Values = dict[tuple[str, ...], float]


@pytest.fixture
def dispatcher(database: Database, broker: Broker) -> Dispatcher:
    return Dispatcher(database, broker, lease_seconds=60.0)


@contextmanager
def _serving(database: Database, dispatcher: Dispatcher) -> Iterator[int]:
    port = free_port()
    end = serve_metrics(DispatcherCollector(database, dispatcher), "127.0.0.1", port)
    try:
        yield port
    finally:
        end()


def _open(database: Database, rows: int) -> int:
    """A job; its second row was rejected while loading."""
    entry = entry_for(Task.PREDICT)
    corpus = load(database, "c", entry.task.content, records(entry.task.content, rows, rejected=lambda row: row == 1))
    return jobs.open_job(database, corpus, jobs.pin_model(database, entry, "r1"), entry, {})[0]


def _claim(database: Database, lease: int) -> ClaimedBatch:
    cuts.cut(database, 9)
    with database.transaction() as connection:
        [waiting] = dispatches.waiting(connection, Lane(Task.PREDICT, None), 1)
    [sent] = dispatches.dispatch(database, [waiting.batch], Task.PREDICT.queue)
    batch = claims.claim(database, sent.message, lease)
    assert batch is not None
    return batch


def test_jobs_are_told_until_an_hour_after_their_end(database: Database, dispatcher: Dispatcher) -> None:
    job = _open(database, 5)
    cuts.cut(database, 9)
    labels = (str(job), "test-predict", "predict")
    with _serving(database, dispatcher) as port:
        told = by_labels(scrape(port))
        assert told["sciqueue_ledger_up",] == 1
        assert told["sciqueue_live_workers",] == 0
        assert told["sciqueue_jobs", "running"] == told["sciqueue_job_running", *labels] == 1
        assert told["sciqueue_batches", "pending"] >= 1
        assert told["sciqueue_job_outstanding_rows", *labels] + told["sciqueue_job_rows_total", *labels] == 5
        left = ("test-predict", "sciqueue.predict", "predict")
        assert told["sciqueue_outstanding_rows", *left] == 5
        assert ("sciqueue_outstanding_device_seconds", *left) not in told  # nobody knows
        jobs.pause(database, job)
        paused = by_labels(scrape(port))
        assert paused["sciqueue_batches", "paused"] == told["sciqueue_batches", "pending"]
        assert paused["sciqueue_job_running", *labels] == 0
        assert ("sciqueue_outstanding_rows", *left) not in paused
        with database.transaction() as connection:
            connection.execute("UPDATE jobs SET state = 'cancelled', finished_at = now() - interval '50 minutes'")
        assert by_labels(scrape(port))["sciqueue_job_outstanding_rows", *labels] == 0
        with database.transaction() as connection:
            connection.execute("UPDATE jobs SET finished_at = now() - interval '61 minutes'")
        assert ("sciqueue_job_outstanding_rows", *labels) not in by_labels(scrape(port))


def test_failures_are_told_by_reason_also_those_that_a_retry_leaves(database: Database, dispatcher: Dispatcher) -> None:
    job = _open(database, 4)
    labels = (str(job), "test-predict")
    lease = leases.take(database, worker_info(), 3600.0)
    with _serving(database, dispatcher) as port:

        def failures() -> Values:
            told = by_labels(scrape(port))
            return {key[3:4]: told[key] for key in told if key[0] == "sciqueue_job_failures" and key[1:3] == labels}

        batch = _claim(database, lease)
        assert failures() == {}
        claims.complete(database, batch, answer(batch, lambda row, _: RowError.TIMEOUT if row == 2 else None))
        assert jobs.finish(database) == [job]
        assert failures() == {("empty_smiles",): 1, ("timeout",): 1}
        assert jobs.retry(database, job) == 1
        batch = _claim(database, lease)
        claims.complete(database, batch, answer(batch, lambda *_: RowError.TOO_LONG))  # as many as before
        assert jobs.finish(database) == [job]
        assert failures() == {("empty_smiles",): 1, ("too_long",): 1}


def test_crashes_are_told_by_job_and_deaths_by_worker_within_the_hour(
    database: Database, dispatcher: Dispatcher
) -> None:
    job = _open(database, 4)
    labels = (str(job), "test-predict", "predict")
    for _ in range(2):
        _claim(database, leases.take(database, worker_info("gpu0@lab"), 3600.0))
        leases.report_death(database, "gpu0@lab", 1)
        assert dispatches.expire(database) == 1
    with _serving(database, dispatcher) as port:
        told = by_labels(scrape(port))
        assert told["sciqueue_recent_worker_deaths", "gpu0@lab"] == 2
        assert told["sciqueue_job_crashes_total", *labels] == 2
        with database.transaction() as connection:
            [(suspect, _)] = dispatches.suspects(connection, 2)
            connection.execute("UPDATE leases SET closed_at = now() - interval '61 minutes'")
        dispatches.split(database, suspect)
        told = by_labels(scrape(port))
        assert told["sciqueue_job_crashes_total", *labels] == 2  # the halves have none of their own
        assert ("sciqueue_recent_worker_deaths", "gpu0@lab") not in told


def test_a_dispatcher_tells_whether_it_leads_and_what_it_has_done(
    database: Database, dispatcher: Dispatcher, broker: Broker
) -> None:
    _open(database, 12)
    lease = leases.take(database, worker_info("gpu0@lab"), 3600.0)
    standby = Dispatcher(database, broker, lease_seconds=60.0)
    standby._holder = "another"
    with _serving(database, dispatcher) as port, _serving(database, standby) as other:
        assert by_labels(scrape(port))["sciqueue_dispatcher_leads",] == 0
        for one in (dispatcher, dispatcher, standby):
            with one.counts.tick():
                one.tick()
        told = by_labels(scrape(port))
        assert told["sciqueue_dispatcher_leads",] == 1
        assert told["sciqueue_dispatcher_ticks_total",] == 2
        assert told["sciqueue_dispatcher_tick_seconds_total",] > 0
        assert told["sciqueue_batches", "queued"] >= 1
        assert told["sciqueue_dispatcher_messages_total", "sciqueue.predict"] == told["sciqueue_batches", "queued"]
        assert ("sciqueue_dispatcher_messages_total", "sciqueue.generate") not in told
        assert by_labels(scrape(other))["sciqueue_dispatcher_leads",] == 0
        with database.transaction() as connection:
            [queued] = connection.execute("SELECT id, fence FROM batches WHERE state = 'queued' LIMIT 1").fetchall()
            connection.execute(
                "UPDATE batches SET state = 'running', lease_id = %s WHERE id = %s", (lease, queued["id"])
            )
        leases.close(database, lease)
        dispatcher._cared_at = 0.0  # look for who is gone
        dispatcher.tick()
        assert by_labels(scrape(port))["sciqueue_dispatcher_returned_batches_total", "worker_gone"] == 1


def test_without_the_ledger_a_dispatcher_tells_of_itself_alone(broker: Broker) -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/nothing", size=1, timeout=0.5)
    with nowhere, _serving(nowhere, Dispatcher(nowhere, broker, lease_seconds=60.0)) as port:
        told = by_labels(scrape(port))
    assert told["sciqueue_ledger_up",] == told["sciqueue_dispatcher_leads",] == 0
    assert {name for name, *_ in told} == {"sciqueue_ledger_up"} | {n for n, *_ in told if "dispatcher" in n}


def test_a_ledger_that_hangs_is_told_to_be_away_until_it_answers(
    database: Database, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    with _serving(database, dispatcher) as port:
        with database.transaction() as connection:
            connection.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
            told = [by_labels(scrape(port)) for _ in range(3)]
            waiting = connection.execute(
                "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() "
                "AND wait_event_type = 'Lock'"
            ).fetchone()
        assert [one["sciqueue_ledger_up",] for one in told] == [0, 0, 0]
        assert all("sciqueue_dispatcher_ticks_total" in {name for name, *_ in one} for one in told)
        assert waiting == {"n": 1}
        until(lambda: by_labels(scrape(port))["sciqueue_ledger_up",] == 1, 30.0)
