"""Models and workers of different sizes: what the dispatcher sends where. Workers are only leases here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import sciqueue

from producer.broker import Broker
from producer.dispatcher import Dispatcher
from producer.submission import submit
from schemas.database import Database
from schemas.items import SUSPECTS, Task, sized
from schemas.ledger import claims, jobs, leases, progress
from schemas.ledger.claims import ClaimedBatch
from schemas.message import BatchMessage
from schemas.registry import Registry
from schemas.states import Priority
from tests.checkpoints import sized_entry

GIB = 1 << 30
SMALL, LARGE = 15 * GIB + 5, 79 * GIB + 7
TO_SMALL, TO_LARGE = "sciqueue.predict.15g", "sciqueue.predict.79g"


@pytest.fixture
def dispatcher(database: Database, broker_url: str) -> Iterator[Dispatcher]:
    broker = Broker(broker_url)
    broker.mark()
    yield Dispatcher(database, broker, lease_seconds=2.0)
    broker.close()


def _worker(database: Database, memory: int | None, *, slots: int = 3, queue: str = Task.PREDICT.queue) -> int:
    return leases.take(database, leases.WorkerInfo("gpu0@test", "cuda", 1, [queue], slots, {}, memory), 3600.0)


def _job(
    database: Database, folder: Path, name: str, need: int, *, rows: int = 3000, priority: Priority = Priority.NORMAL
) -> int:
    entry = sized_entry(folder, name, need)
    molecules = ["C"] * rows
    return submit(
        database,
        Registry([entry]),
        molecules,
        task=Task.PREDICT,
        model=name,
        name=name,
        batch_rows=10,
        priority=priority,
    ).job


def _look(dispatcher: Dispatcher, times: int = 3) -> None:
    for _ in range(times):
        dispatcher._cared_at = 0.0
        dispatcher.tick()


def _sent(database: Database) -> list[dict[str, object]]:
    with database.transaction() as connection:
        return connection.execute(
            "SELECT id, fence, job_id, queue FROM batches WHERE state = 'queued' ORDER BY id"
        ).fetchall()


def _queues(database: Database, job: int) -> set[object]:
    return {row["queue"] for row in _sent(database) if row["job_id"] == job}


def _take_what_is_sent(database: Database, workers: dict[str, int]) -> list[ClaimedBatch]:
    """Each queue's worker claims what is in it."""
    taken = []
    for row in _sent(database):
        batch = claims.claim(database, BatchMessage(row["id"], row["fence"]), workers[str(row["queue"])])
        assert batch is not None
        taken.append(batch)
    return taken


def test_a_model_goes_to_the_workers_that_can_hold_it_and_to_no_other(
    dispatcher: Dispatcher, database: Database, tmp_path: Path
) -> None:
    workers = {TO_SMALL: _worker(database, SMALL), TO_LARGE: _worker(database, LARGE)}
    small = _job(database, tmp_path, "small", SMALL)  # as many bytes as the small one has
    large = _job(database, tmp_path, "large", SMALL + 4)
    went: set[tuple[int, object]] = set()
    for _ in range(20):
        _look(dispatcher, 1)
        went |= {(int(str(row["job_id"])), row["queue"]) for row in _sent(database)}
        _take_what_is_sent(database, workers)
    assert went == {(small, TO_SMALL), (small, TO_LARGE), (large, TO_LARGE)}


def test_jobs_share_by_their_weights_at_each_size_of_worker(
    dispatcher: Dispatcher, database: Database, tmp_path: Path
) -> None:
    """What a job got of workers that another cannot use is not held against it where both can run."""
    workers = {TO_SMALL: _worker(database, SMALL), TO_LARGE: _worker(database, LARGE)}
    names = {
        _job(database, tmp_path, "anywhere", GIB, rows=5000, priority=Priority.NORMAL): "anywhere",
        _job(database, tmp_path, "large-low", 20 * GIB, rows=5000, priority=Priority.LOW): "low",
        _job(database, tmp_path, "large-high", 20 * GIB, rows=5000, priority=Priority.NORMAL): "normal",
    }
    got: Counter[tuple[str, object]] = Counter()
    for _ in range(150):
        _look(dispatcher, 1)
        got.update((names[int(str(row["job_id"]))], row["queue"]) for row in _sent(database))
        _take_what_is_sent(database, workers)
    assert got["anywhere", TO_SMALL] > 100
    assert got["normal", TO_LARGE] / got["anywhere", TO_LARGE] == pytest.approx(1.0, rel=0.2)
    assert got["normal", TO_LARGE] / got["low", TO_LARGE] == pytest.approx(4.0, rel=0.3)


def test_of_workers_with_one_queue_the_smallest_must_hold_the_model(
    dispatcher: Dispatcher, database: Database, tmp_path: Path
) -> None:
    smaller = _worker(database, 15 * GIB)
    _worker(database, SMALL)
    job = _job(database, tmp_path, "between", 15 * GIB + 4)
    _look(dispatcher)
    assert _sent(database) == []
    leases.close(database, smaller)
    _look(dispatcher)
    assert _queues(database, job) == {TO_SMALL}


def test_a_job_waits_for_a_worker_that_is_large_enough_and_goes_on_when_one_comes(
    dispatcher: Dispatcher,
    database: Database,
    broker_url: str,
    tmp_path: Path,
    command_settings: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCIQUEUE_BROKER_URL", broker_url)
    _worker(database, SMALL)
    job = _job(database, tmp_path, "large", 32 * GIB)
    _look(dispatcher)
    assert _sent(database) == []
    reason = "needs a worker with 32.0GiB for models; the largest has 15.0GiB"
    for command in (("status", job), ("top", "--once"), ("doctor",)):
        assert reason in sciqueue(*command).out
    shown = [line.split() for line in sciqueue("top", "--once").out.splitlines()]
    assert ["predict.15g", "0", "0", "0", "3"] in shown
    assert ["predict", "3,000", "1", "0", "none", "live"] in shown
    _worker(database, LARGE)
    _look(dispatcher)
    assert _queues(database, job) == {TO_LARGE}
    assert not any(reason in sciqueue(*command).out for command in (("status", job), ("top", "--once"), ("doctor",)))


def test_what_is_on_its_way_to_workers_that_are_gone_goes_to_others(
    dispatcher: Dispatcher, database: Database, tmp_path: Path
) -> None:
    lease = _worker(database, SMALL)
    job = _job(database, tmp_path, "small", GIB)
    _look(dispatcher)
    assert _queues(database, job) == {TO_SMALL}
    leases.close(database, lease)
    _worker(database, LARGE)
    _look(dispatcher)
    assert _queues(database, job) == {TO_LARGE}


def test_a_need_that_a_worker_finds_out_moves_the_job(
    dispatcher: Dispatcher, database: Database, tmp_path: Path
) -> None:
    workers = {TO_SMALL: _worker(database, SMALL)}
    job = _job(database, tmp_path, "grows", GIB)
    _look(dispatcher)
    (batch,) = _take_what_is_sent(database, workers)
    assert claims.refuse(database, batch, 20 * GIB)
    assert not claims.refuse(database, batch, 40 * GIB)  # it no longer speaks for it
    assert progress.of_job(database, job).need == 20 * GIB
    _look(dispatcher)
    assert _sent(database) == []
    _worker(database, LARGE)
    _look(dispatcher)
    assert _queues(database, job) == {TO_LARGE}


def test_a_worker_that_cannot_hold_what_it_said_it_could_is_not_asked_again(
    dispatcher: Dispatcher, database: Database, tmp_path: Path
) -> None:
    workers = {TO_SMALL: _worker(database, SMALL)}
    job = _job(database, tmp_path, "barely", SMALL)
    _look(dispatcher)
    (batch,) = _take_what_is_sent(database, workers)
    claims.refuse(database, batch, SMALL - GIB)
    assert progress.of_job(database, job).need == SMALL + SMALL // 16
    _look(dispatcher)
    assert _sent(database) == []


def test_a_suspect_goes_to_a_suspects_process_that_can_hold_its_model(
    dispatcher: Dispatcher, database: Database, tmp_path: Path
) -> None:
    lease = _worker(database, LARGE)
    for memory in (SMALL, LARGE):
        _worker(database, memory, queue=SUSPECTS, slots=1)
    _job(database, tmp_path, "large", 20 * GIB, rows=10)
    _look(dispatcher)
    (batch,) = _take_what_is_sent(database, {TO_LARGE: lease})
    claims.give_up(database, batch)
    _look(dispatcher)
    assert [row["queue"] for row in _sent(database)] == [sized(SUSPECTS, LARGE)] == ["sciqueue.suspects.79g"]


def test_what_was_learnt_of_a_model_stays_until_its_weights_tell_otherwise(database: Database, tmp_path: Path) -> None:
    entry = sized_entry(tmp_path, "model", GIB)
    model = jobs.pin_model(database, entry, "r1")

    def need() -> int | None:
        with database.transaction() as connection:
            row = connection.execute("SELECT need FROM models WHERE id = %s", (model,)).fetchone()
        return row and row["need"]

    assert need() is None
    jobs.pin_model(database, entry, "r1", GIB)
    jobs.pin_model(database, entry, "r1")
    assert need() == GIB
