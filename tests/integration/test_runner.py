"""One batch through a worker's runner, with the real ledger, batcher and fake engine; no broker."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from producer.submission import submit
from schemas.database import Database
from schemas.errors import RowError
from schemas.items import Record, Rejected, Task
from schemas.ledger import jobs, progress
from schemas.message import BatchMessage
from schemas.outcomes import Summary
from schemas.registry import load_registry
from schemas.states import JobState
from tests.integration.worker_part import send
from workers.lease import LeaseKeeper
from workers.loading import LoadedModel
from workers.runner import Runner
from workers.shelf import Shelf
from workers.spans import Step
from workers.tickets import DeviceLost


@pytest.fixture
def shelf(database: Database) -> Iterator[Shelf]:
    made = Shelf(database, "cpu")
    yield made
    made.stop(0.0)


def _dispatched(database: Database, source: list[Any], task: Task = Task.PREDICT, **parameters: Any) -> BatchMessage:
    model = f"fake-{task.value}"
    submit(database, load_registry(), source, task=task, model=model, parameters=parameters, name="some")
    return send(database, task, 1)[0]


def _loaded(shelf: Shelf) -> LoadedModel:
    with shelf.use(1) as model:
        return model


def test_every_row_of_a_batch_has_its_outcome_rejected_ones_too(
    database: Database, shelf: Shelf, keeper: LeaseKeeper
) -> None:
    source = ["CCO", Record(Rejected(RowError.INVALID_UTF8, "not text")), "CCN"]
    message = _dispatched(database, source)
    assert Runner(database, shelf).run(message, keeper) == "done"
    standing = progress.of_job(database, 1)
    assert (standing.succeeded, standing.failed) == (2, 1)


def test_a_repeated_message_is_refused(database: Database, shelf: Shelf, keeper: LeaseKeeper) -> None:
    message = _dispatched(database, ["CCO"])
    runner = Runner(database, shelf)
    assert [runner.run(message, keeper) for _ in range(3)] == ["done", "refused", "refused"]
    assert runner.verdicts() == {"done": 1, "refused": 2}


def test_what_a_row_took_is_kept_for_those_who_ask_what_is_left(
    database: Database, shelf: Shelf, keeper: LeaseKeeper
) -> None:
    message = _dispatched(database, ["CCO"] * 100, ns_per_token=1e6)
    Runner(database, shelf).run(message, keeper)
    shelf.stop(0.0)
    with database.transaction() as connection:
        [kept] = connection.execute("SELECT row_seconds FROM costs").fetchall()
    assert kept["row_seconds"] >= 0.003  # three tokens a row, a millisecond each


def test_a_rejected_prompt_fails_once_for_each_of_its_samples(
    database: Database, shelf: Shelf, keeper: LeaseKeeper
) -> None:
    source = ["C", Record(Rejected(RowError.NUL_BYTE, "a NUL byte"))]
    message = _dispatched(database, source, Task.GENERATE, samples=3)
    assert Runner(database, shelf).run(message, keeper) == "done"
    standing = progress.of_job(database, 1)
    assert (standing.succeeded, standing.failed, standing.total) == (3, 3, 6)


def test_a_row_that_the_engine_fails_on_fails_alone(database: Database, shelf: Shelf, keeper: LeaseKeeper) -> None:
    message = _dispatched(database, ["C" * n for n in range(1, 33)], poison="CCCC")
    assert Runner(database, shelf).run(message, keeper) == "done"
    standing = progress.of_job(database, 1)
    assert (standing.succeeded, standing.failed) == (31, 1)


def test_a_model_that_cannot_be_loaded_pauses_its_job_with_the_reason(
    database: Database, shelf: Shelf, keeper: LeaseKeeper
) -> None:
    message = _dispatched(database, ["CCO"])
    with database.transaction() as connection:
        connection.execute(
            "UPDATE models SET entry = entry || %s::jsonb",
            ('{"engine": "causal", "weights": {"path": "/nowhere/at/all"}}',),
        )
    assert Runner(database, shelf).run(message, keeper) == "paused its job"
    standing = progress.of_job(database, 1)
    assert standing.state is JobState.PAUSED
    assert "/nowhere/at/all" in (standing.reason or "")
    assert standing.done == 0  # no row is blamed


def test_a_dead_model_thread_ends_the_process_rather_than_hand_back_for_ever(
    database: Database, shelf: Shelf, keeper: LeaseKeeper
) -> None:
    message = _dispatched(database, ["CCO"])
    with shelf.use(1) as model:
        model.batcher.stop(0.0)
    with pytest.raises(DeviceLost):
        Runner(database, shelf).run(message, keeper)


def test_a_stopping_worker_leaves_new_messages_alone(database: Database, shelf: Shelf, keeper: LeaseKeeper) -> None:
    message = _dispatched(database, ["CCO"])
    runner = Runner(database, shelf)
    runner.stop(0.0)
    assert runner.run(message, keeper) == "left"
    assert _states(database) == ["pending"]  # at once, rather than when its loss is noticed


def test_a_drain_finishes_what_is_held_begun_or_not(database: Database, shelf: Shelf, keeper: LeaseKeeper) -> None:
    verdict = _stopped_while_running(database, shelf, keeper, lambda runner: runner.stop(20.0))
    assert verdict == "done"
    assert progress.of_job(database, 1).succeeded == 2


def test_a_hurried_drain_hands_back_at_once_and_blames_nobody(
    database: Database, shelf: Shelf, keeper: LeaseKeeper
) -> None:
    def stop(runner: Runner) -> None:
        threading.Timer(0.1, runner.hurry).start()
        runner.stop(60.0)

    assert _stopped_while_running(database, shelf, keeper, stop) == "released"
    assert _states(database) == ["pending"]


def _stopped_while_running(
    database: Database, shelf: Shelf, keeper: LeaseKeeper, stop: Callable[[Runner], None]
) -> str:
    """What becomes of a batch that takes most of a second, when its worker is stopped soon after its claim."""
    message = _dispatched(database, ["CCO", "CCN"], hang="CCO", hang_seconds=0.9)
    _loaded(shelf)
    runner = Runner(database, shelf)
    with ThreadPoolExecutor(1) as pool:
        verdict = pool.submit(runner.run, message, keeper)
        while _states(database) != ["running"]:
            time.sleep(0.01)
        stop(runner)
        return verdict.result(30.0)


def _states(database: Database) -> list[str]:
    with database.transaction() as connection:
        return [row["state"] for row in connection.execute("SELECT state FROM batches").fetchall()]


def test_results_of_a_batch_that_was_taken_away_are_dropped(
    database: Database, shelf: Shelf, keeper: LeaseKeeper
) -> None:
    message = _dispatched(database, ["CCO"], hang="CCO", hang_seconds=0.5)
    runner = Runner(database, shelf)
    cpu = _loaded(shelf).engine.cpu
    real_prepare = cpu.prepare

    def cancelled_meanwhile(item: Any, parameters: Any) -> Any:
        jobs.cancel(database, 1)
        return real_prepare(item, parameters)

    cpu.prepare = cancelled_meanwhile  # type: ignore[method-assign]
    assert runner.run(message, keeper) == "too late"
    assert progress.of_job(database, 1).done == 0


def test_an_outcome_that_cannot_be_stored_gives_the_batch_up_rather_than_hold_it_for_ever(
    database: Database, shelf: Shelf, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = _dispatched(database, ["CCO"])
    engine = _loaded(shelf).engine
    monkeypatch.setattr(engine, "run", lambda rows: [Summary(row.row, "no prediction", (), 1.0, 1) for row in rows])
    assert Runner(database, shelf).run(message, keeper) == "gave up"
    with database.transaction() as connection:
        left = connection.execute("SELECT state, crashes FROM batches").fetchall()
    assert left == [{"state": "pending", "crashes": 1}]


def test_a_batch_past_its_deadline_is_given_up(database: Database, shelf: Shelf, keeper: LeaseKeeper) -> None:
    message = _dispatched(database, ["CCO"], hang="CCO", hang_seconds=1.5)  # the model allows one second a row
    assert Runner(database, shelf).run(message, keeper) == "gave up"


def test_what_micro_batches_cost_is_known_to_the_next_worker(
    database: Database, shelf: Shelf, keeper: LeaseKeeper
) -> None:
    runner = Runner(database, shelf)
    # Of each size the first is no measure.
    assert runner.run(_dispatched(database, ["CCO"] * 50, ns_per_token=1000.0), keeper) == "done"
    cost = _loaded(shelf).cost
    for _ in range(6):
        cost.observe(150, 150, 0.5)
    runner.stop(1.0)
    again = Shelf(database, "cpu")
    try:
        assert _loaded(again).cost.seconds(150) == pytest.approx(cost.seconds(150))
        assert cost.seconds(150) == pytest.approx(0.5)
    finally:
        again.stop(0.0)


def test_the_log_tells_each_batchs_steps_and_from_time_to_time_what_each_model_did(
    database: Database,
    shelf: Shelf,
    keeper: LeaseKeeper,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("workers.shelf.REPORT", 0.0)
    runner = Runner(database, shelf)
    source = ["C" * n for n in range(1, 33)]
    assert runner.run(_dispatched(database, source, poison="CCCC"), keeper) == "done"
    assert runner.run(_dispatched(database, source), keeper) == "done"
    shelf.report()
    told = [record.getMessage() for record in caplog.records]
    assert any(re.match(r"batch 1, fence 1: done \(claim \d+ ms, model .*, complete \d+ ms\)", line) for line in told)
    lines = [line for line in told if "fake-predict: " in line and " rows in " in line]
    assert [re.match(r"(in all )?fake-predict: (\d+) rows in", line)[2] for line in lines] == ["32", "32", "64"]
    assert "1 failed" in lines[0] and "compute 1x" in lines[0] and "compute 2x" in lines[2]


def test_a_batchs_steps_are_counted_with_the_exceptions_they_ended_by(
    database: Database, shelf: Shelf, keeper: LeaseKeeper
) -> None:
    message = _dispatched(database, ["CCO"], hang="CCO", hang_seconds=1.5)
    assert Runner(database, shelf).run(message, keeper) == "gave up"
    (counts,) = shelf.counts()
    steps = {step: (totals.count, totals.faults) for step, totals in counts.steps.items()}
    whole = dict.fromkeys((Step.CLAIM, Step.MODEL, Step.LOAD, Step.PREPARE), (1, 0))
    assert steps == {**whole, Step.COMPUTE: (1, 1)}
    assert 0.9 < counts.steps[Step.COMPUTE].seconds < 1.5  # a second is allowed
