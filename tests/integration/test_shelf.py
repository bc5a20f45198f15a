"""Models that do not fit together in one worker: real batches, engines and memory; no broker."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import psutil
import pytest

from producer.submission import submit
from schemas.database import Database
from schemas.footprint import weights_bytes
from schemas.items import Task
from schemas.ledger import jobs, progress
from schemas.message import BatchMessage
from schemas.registry import ModelEntry, Registry
from schemas.states import JobState
from tests.checkpoints import make_smiles_checkpoint, sized_entry
from tests.classifier_checkpoint import classifier_entry, make_classifier_checkpoint
from tests.integration.worker_part import send
from workers import residence, room
from workers.engines import fake
from workers.lease import LeaseKeeper
from workers.room import give_back
from workers.runner import Runner
from workers.shelf import Shelf
from workers.spans import Step, StepTotals

MIB = 1 << 20
UNIT = 32 * MIB  # more than a test's own process grows by, which is measured along with a load
SLOTS = 4

MakeShelf = Callable[..., Shelf]


@pytest.fixture
def make_shelf(database: Database) -> Iterator[MakeShelf]:
    made: list[Shelf] = []

    def make(**how: Any) -> Shelf:
        made.append(Shelf(database, "cpu", **how))
        return made[-1]

    yield make
    for shelf in made:
        shelf.stop(0.0)


def sized(folder: Path, name: str, units: int, task: Task = Task.PREDICT) -> ModelEntry:
    return sized_entry(folder, name, units * UNIT, task)


def dispatched(database: Database, entry: ModelEntry, rows: int, batches: int, **parameters: Any) -> list[BatchMessage]:
    """A job's batches, sent."""
    source = ["C" * (1 + row % 20) for row in range(rows * batches)]
    submit(
        database,
        Registry([entry]),
        source,
        task=entry.task,
        model=entry.name,
        parameters=parameters,
        batch_rows=rows,
        name=entry.name,
    )
    return send(database, entry.task)


@contextmanager
def most_held(shelf: Shelf) -> Iterator[list[int]]:
    """The most bytes that models were seen to hold together within the block."""
    most, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.001):
            most[0] = max(most[0], sum(counts.held for counts in shelf.counts()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def loads(shelf: Shelf) -> int:
    return sum(counts.steps.get(Step.LOAD, StepTotals()).count for counts in shelf.counts())


def run_all(runner: Runner, keeper: LeaseKeeper, messages: list[BatchMessage]) -> list[str]:
    with ThreadPoolExecutor(SLOTS) as slots:
        return list(slots.map(lambda message: runner.run(message, keeper), messages))


def test_two_models_that_do_not_fit_together_take_turns_and_no_batch_fails(
    database: Database, make_shelf: MakeShelf, keeper: LeaseKeeper, tmp_path: Path
) -> None:
    shelf = make_shelf(slots=SLOTS, bound=10 * UNIT)
    jobs_of = [
        dispatched(database, sized(tmp_path, name, 6), 20, 40, ns_per_token=20_000.0) for name in ("first", "second")
    ]
    interleaved = list(chain.from_iterable(zip(*jobs_of, strict=True)))
    with most_held(shelf) as most:
        verdicts = run_all(Runner(database, shelf), keeper, interleaved)
    assert verdicts == ["done"] * 80  # a model put away under a batch would have it fail
    for job in (1, 2):
        standing = progress.of_job(database, job)
        assert (standing.succeeded, standing.failed) == (800, 0)
    assert [counts.work.rows for counts in shelf.counts()] == [800, 800]
    assert most[0] == 6 * UNIT
    assert 2 <= loads(shelf) <= 40  # 80 batches, each other one of the other model


def test_a_waiting_models_turn_comes_however_many_batches_the_loaded_one_has(
    database: Database, make_shelf: MakeShelf, keeper: LeaseKeeper, tmp_path: Path
) -> None:
    shelf = make_shelf(slots=SLOTS, bound=10 * UNIT)
    busy = dispatched(database, sized(tmp_path, "busy", 6), 10, 200, ns_per_token=400_000.0)  # far more than its time
    rare = dispatched(database, sized(tmp_path, "rare", 6), 10, 1)
    runner = Runner(database, shelf)
    began = time.monotonic()
    served = []
    with ThreadPoolExecutor(SLOTS) as slots:
        first = slots.submit(runner.run, busy[0], keeper)
        rest = [slots.submit(runner.run, message, keeper) for message in (*rare, *busy[1:])]
        rest[0].add_done_callback(lambda _: served.append(sum(future.done() for future in rest)))
        assert {future.result() for future in (first, *rest)} == {"done"}
    assert 0 < served[0] < 190, f"served after {served[0]} of 200 batches"
    assert loads(shelf) <= 3, f"in {time.monotonic() - began:.0f} s"


def test_a_model_stays_while_a_batch_uses_it_and_goes_when_none_does(
    database: Database, make_shelf: MakeShelf, tmp_path: Path
) -> None:
    shelf = make_shelf(slots=3, bound=10 * UNIT)
    for name in ("first", "second"):
        dispatched(database, sized(tmp_path, name, 6), 1, 1)
    there = threading.Event()

    def use_the_other() -> None:
        with shelf.use(2):
            there.set()

    with shelf.use(1) as model:
        waiting = threading.Thread(target=use_the_other)
        waiting.start()
        assert not there.wait(1.0)
        assert model.batcher.ended is None
        with shelf.use(1) as same:  # its time is not over
            assert same is model
    assert there.wait(10.0)
    waiting.join()
    assert model.batcher.ended is not None


def test_a_model_goes_only_once_the_device_is_done_with_rows_that_nobody_waits_for(
    database: Database, make_shelf: MakeShelf, keeper: LeaseKeeper, tmp_path: Path
) -> None:
    shelf = make_shelf(slots=1, bound=10 * UNIT)
    given_up = dispatched(database, sized(tmp_path, "slow", 6), 1, 1, hang="C", hang_seconds=3.0)  # a second is allowed
    other = dispatched(database, sized(tmp_path, "other", 6), 1, 1)
    runner = Runner(database, shelf)
    assert runner.run(given_up[0], keeper) == "gave up"
    began = time.monotonic()
    assert runner.run(other[0], keeper) == "done"
    assert time.monotonic() - began > 1.0


def test_no_order_of_uses_puts_a_model_away_under_its_user_or_lets_one_wait_for_ever(
    database: Database, make_shelf: MakeShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short turns, so that there are many within seconds."""
    monkeypatch.setattr(residence, "LEAST_STAY", 0.02)
    monkeypatch.setattr(residence, "LINGER", 0.005)
    for name, units in (("first", 6), ("second", 6), ("third", 3), ("fourth", 2)):
        dispatched(database, sized(tmp_path, name, units), 1, 1)
    shelf = make_shelf(slots=8, bound=9 * UNIT)

    def use(thread: int) -> int:
        draw, uses = random.Random(thread), 0
        while loads(shelf) < 30:
            time.sleep(draw.choice((0.0, 0.0, 0.02)))
            with shelf.use(draw.choice((1, 1, 2, 2, 3, 4))) as model:
                time.sleep(draw.random() * 0.01)
                assert model.batcher.ended is None
                assert model in shelf.loaded()
            uses += 1
        return uses

    with most_held(shelf) as most, ThreadPoolExecutor(8) as slots:
        uses = list(slots.map(use, range(8)))
    assert min(uses) > 3
    assert most[0] <= 9 * UNIT


def test_what_fits_stays_loaded(database: Database, make_shelf: MakeShelf, keeper: LeaseKeeper, tmp_path: Path) -> None:
    shelf = make_shelf(slots=SLOTS, bound=12 * UNIT)
    batches = [dispatched(database, sized(tmp_path, name, 6), 5, 5) for name in ("first", "second")]
    run_all(Runner(database, shelf), keeper, list(chain.from_iterable(zip(*batches, strict=True))))
    assert loads(shelf) == 2
    assert len(shelf.loaded()) == 2


def need(database: Database, model: str) -> int | None:
    with database.transaction() as connection:
        row = connection.execute("SELECT need FROM models WHERE name = %s", (model,)).fetchone()
    return row and row["need"]


def test_a_batch_of_a_model_that_is_too_large_goes_back_unblamed_with_what_it_needs(
    database: Database, make_shelf: MakeShelf, keeper: LeaseKeeper, tmp_path: Path
) -> None:
    shelf = make_shelf(slots=1, bound=10 * UNIT)
    small = dispatched(database, sized(tmp_path, "small", 6), 1, 1)
    large = dispatched(database, sized(tmp_path, "large", 11), 1, 1)
    with database.transaction() as connection:
        connection.execute("UPDATE models SET need = NULL")  # as of one whose weights its submitter does not have
    runner = Runner(database, shelf)
    assert [runner.run(small[0], keeper), runner.run(large[0], keeper)] == ["done", "too large"]
    assert need(database, "large") == 11 * UNIT
    assert progress.of_job(database, 2).state is JobState.RUNNING
    with database.transaction() as connection:
        back = connection.execute("SELECT state, crashes, lease_id FROM batches WHERE job_id = 2").fetchall()
    assert back == [{"state": "pending", "crashes": 0, "lease_id": None}]
    assert [model.engine.entry.name for model in shelf.loaded()] == ["small"]


def test_a_load_that_runs_out_of_memory_is_tried_again_once_another_model_has_gone(
    database: Database, make_shelf: MakeShelf, keeper: LeaseKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = make_shelf(slots=1, bound=1000 * UNIT)
    batches = [dispatched(database, sized(tmp_path, name, 2), 1, 1) for name in ("first", "second", "third")]
    real = fake.load

    def one_has_room(entry: ModelEntry, device: str) -> fake.FakeEngine:
        if shelf.loaded():
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 B")
        return real(entry, device)

    monkeypatch.setattr(fake, "load", one_has_room)
    runner = Runner(database, shelf)
    assert [runner.run(messages[0], keeper) for messages in batches] == ["done"] * 3
    assert [model.engine.entry.name for model in shelf.loaded()] == ["third"]
    assert [counts.steps[Step.LOAD].faults for counts in shelf.counts()] == [0, 1, 1]


def no_room(entry: ModelEntry, device: str) -> fake.FakeEngine:
    raise MemoryError("no room")


def test_a_load_that_runs_out_of_all_the_memory_there_is_says_that_the_model_needs_more(
    database: Database, make_shelf: MakeShelf, keeper: LeaseKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "load", no_room)
    first, second = dispatched(database, sized(tmp_path, "only", 2), 1, 2)
    shelf = make_shelf(bound=10 * UNIT)
    runner = Runner(database, shelf)
    assert runner.run(first, keeper) == "too large"
    assert need(database, "only") == 12 * UNIT
    assert runner.run(second, keeper) == "too large"
    assert loads(shelf) == 1  # it is not tried once more


def test_a_load_that_runs_out_of_memory_which_others_hold_pauses_its_job(
    database: Database, make_shelf: MakeShelf, keeper: LeaseKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "load", no_room)
    monkeypatch.setattr(room, "device_memory", lambda device: room.Memory(100 * UNIT, 50 * UNIT))
    batch = dispatched(database, sized(tmp_path, "only", 2), 1, 1)
    assert Runner(database, make_shelf()).run(batch[0], keeper) == "paused its job"
    reason = "model 'only' does not fit on cpu (MemoryError: no room); run it where there is more memory"
    assert progress.of_job(database, 1).reason == reason


def test_a_model_that_would_fit_but_for_what_others_hold_pauses_its_job(
    database: Database, make_shelf: MakeShelf, keeper: LeaseKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "device_memory", lambda device: room.Memory(100 * UNIT, 50 * UNIT))
    batch = dispatched(database, sized(tmp_path, "only", 60), 1, 1)
    assert Runner(database, make_shelf()).run(batch[0], keeper) == "paused its job"
    reason = (
        "model 'only' needs 1.9GiB for its weights, and of its 3.1GiB for models cpu has only 1.6GiB free: something "
        "else takes the rest"
    )
    assert progress.of_job(database, 1).reason == reason


def test_batches_that_wait_for_a_model_are_handed_back_when_the_worker_stops(
    database: Database, make_shelf: MakeShelf, keeper: LeaseKeeper, tmp_path: Path
) -> None:
    shelf = make_shelf(slots=2, bound=10 * UNIT)
    dispatched(database, sized(tmp_path, "first", 6), 1, 1)
    waits = dispatched(database, sized(tmp_path, "second", 6), 1, 1)
    runner = Runner(database, shelf)
    with ThreadPoolExecutor(1) as slot, shelf.use(1):
        future = slot.submit(runner.run, waits[0], keeper)
        time.sleep(0.3)
        runner.stop(0.0)
        assert future.result(5.0) == "released"


def test_a_job_of_a_model_that_waits_can_be_cancelled(
    database: Database, make_shelf: MakeShelf, keeper: LeaseKeeper, tmp_path: Path
) -> None:
    shelf = make_shelf(slots=2, bound=10 * UNIT)
    dispatched(database, sized(tmp_path, "first", 6), 1, 1)
    waits = dispatched(database, sized(tmp_path, "second", 6), 1, 1)
    with ThreadPoolExecutor(1) as slot:
        with shelf.use(1):
            future = slot.submit(Runner(database, shelf).run, waits[0], keeper)
            time.sleep(0.3)
            jobs.cancel(database, 2)
        assert future.result(10.0) == "too late"


def test_real_checkpoints_that_do_not_fit_together_give_all_rows_their_outcomes(
    database: Database, make_shelf: MakeShelf, keeper: LeaseKeeper, tmp_path: Path
) -> None:
    make_smiles_checkpoint(tmp_path / "causal")
    generator = ModelEntry.model_validate(
        {
            "name": "own-smiles",
            "task": "generate",
            "engine": "causal",
            "weights": {"path": tmp_path / "causal"},
            "parameters": {"samples": 1, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": 32, "seed": 0},
            "limits": {"batch_rows": 8, "batch_size": 9999, "token_budget": 8192, "max_rows": 64, "max_tokens": 128},
        }
    )
    classifier = classifier_entry(make_classifier_checkpoint(tmp_path / "classifier"))
    bound = max(weights_bytes(generator), weights_bytes(classifier)) + 1
    shelf = make_shelf(slots=SLOTS, bound=bound)
    batches = [dispatched(database, entry, 8, 12) for entry in (generator, classifier)]
    verdicts = run_all(Runner(database, shelf), keeper, list(chain.from_iterable(zip(*batches, strict=True))))
    assert verdicts == ["done"] * 24
    for job in (1, 2):
        standing = progress.of_job(database, job)
        assert (standing.succeeded, standing.failed) == (96, 0)
    assert 2 <= loads(shelf) <= 12
    assert len(shelf.loaded()) == 1


def test_putting_a_model_away_gives_its_memory_back_to_the_machine(
    database: Database, make_shelf: MakeShelf, keeper: LeaseKeeper, tmp_path: Path
) -> None:
    small = classifier_entry(make_classifier_checkpoint(tmp_path / "small"), name="small")
    wide = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 4}
    large = classifier_entry(make_classifier_checkpoint(tmp_path / "large", **wide), name="large")
    assert weights_bytes(large) > 190 * MIB
    first, second = dispatched(database, small, 8, 2)
    (between,) = dispatched(database, large, 8, 1)
    shelf = make_shelf(slots=1, bound=weights_bytes(large) + 1)
    runner = Runner(database, shelf)
    assert runner.run(first, keeper) == "done"  # brings torch along
    give_back()  # what the test itself left behind
    before = resident()
    assert runner.run(between, keeper) == "done"
    loaded = resident()
    assert runner.run(second, keeper) == "done"
    after = resident()
    assert [model.engine.entry.name for model in shelf.loaded()] == ["small"]
    assert loaded - before > 180 * MIB
    assert loaded - after > 0.9 * (loaded - before), f"{before / MIB:.0f}, {loaded / MIB:.0f}, {after / MIB:.0f} MiB"


def resident() -> int:
    return int(psutil.Process().memory_info().rss)
