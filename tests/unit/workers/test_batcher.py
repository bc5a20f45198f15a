from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from schemas.errors import RowError
from schemas.items import Item, Molecule
from schemas.outcomes import Failed, Outcome, Prediction
from schemas.registry import ModelEntry, load_registry
from workers.batcher import Batcher
from workers.cost import CostModel
from workers.engines.contract import Prepared
from workers.engines.load import load_engine
from workers.tickets import DeviceLost, Stopped

ENTRY = load_registry().get("fake-predict")


def entry(**limits: float) -> ModelEntry:
    return ENTRY.model_copy(update={"limits": ENTRY.limits.model_copy(update=limits)})


def outcome(unit: Prepared) -> Outcome:
    return Prediction(unit.row, str(unit.data), "", [float(unit.tokens)], [None], [None])


def units(count: int, tokens: int = 10, first: int = 0) -> list[Prepared]:
    return [Prepared(row, tokens, row) for row in range(first, first + count)]


class Device:
    """An engine whose runs the test watches, holds up and lets fail."""

    pads = True

    def __init__(self, described: ModelEntry, before: Callable[[Sequence[Prepared]], None] = lambda rows: None) -> None:
        self.entry = described
        self.runs: list[list[Prepared]] = []
        self._before = before
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def prepare(self, item: Item, parameters: dict[str, object]) -> Sequence[Prepared | Failed]:
        return [Prepared(item.row, 1, item.content)]

    def run(self, rows: Sequence[Prepared]) -> Sequence[Outcome]:
        self.runs.append(list(rows))
        self.entered.release()
        assert self.gate.wait(20)
        self._before(rows)
        return [outcome(row) for row in rows]

    def hold(self) -> None:
        self.gate.clear()

    @property
    def padded(self) -> list[int]:
        return [max(row.tokens for row in run) * len(run) for run in self.runs]


@pytest.fixture
def started():
    running: list[Batcher] = []

    def start(engine, **kwargs) -> Batcher:
        batcher = Batcher(engine, **kwargs)
        batcher.start()
        running.append(batcher)
        return batcher

    yield start
    for batcher in running:
        if isinstance(batcher._engine, Device):
            batcher._engine.gate.set()
        batcher.stop(drain=5)


def test_rows_of_concurrent_tickets_share_micro_batches_and_come_back_in_order(started):
    engine = load_engine(entry(wait_ms=20), "cpu")
    batcher = started(engine)
    together = threading.Barrier(16)

    def one_batch(number: int) -> list[Outcome]:
        rows = [
            unit
            for row in range(20)
            for unit in engine.cpu.prepare(Item(row, Molecule("C" * (1 + (row * 7 + number) % 40))), {})
        ]
        together.wait()
        return batcher.submit(rows, job=number % 3, weight=1.0).result(10)

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(one_batch, range(16)))
    for number, outcomes in enumerate(results):
        assert [(out.row, len(out.standardized)) for out in outcomes] == [
            (row, 1 + (row * 7 + number) % 40) for row in range(20)
        ]
    stats = batcher.stats()
    assert stats.rows == 320
    assert stats.micro_batches <= 6
    assert stats.blended >= 1
    assert stats.waiting_rows == 0
    assert stats.padded_tokens >= stats.tokens == sum(len(out.standardized) for got in results for out in got)


def test_a_lonely_ticket_waits_for_company_no_longer_than_the_deadline(started):
    batcher = started(Device(entry(wait_ms=60)))
    begun = time.monotonic()
    batcher.submit(units(2), job=1).result(5)
    assert 0.055 <= time.monotonic() - begun < 1.0
    assert batcher.stats().queued_seconds == pytest.approx(2 * 0.06, abs=0.1)


def test_the_deadline_is_the_first_tickets_not_the_last_ones(started):
    engine = Device(entry(wait_ms=150))
    batcher = started(engine)
    begun = time.monotonic()
    tickets = []
    while not engine.runs and time.monotonic() - begun < 5:
        tickets.append(batcher.submit(units(1), job=1))
        time.sleep(0.02)
    assert time.monotonic() - begun < 1.0
    assert 2 <= len(engine.runs[0]) <= len(tickets)


def test_a_full_budget_does_not_wait(started):
    batcher = started(Device(entry(wait_ms=30_000, token_budget=100)))
    assert len(batcher.submit(units(10), job=1).result(5)) == 10


def test_no_rows_have_no_outcomes(started):
    assert started(Device(ENTRY)).submit([], job=1).result(1) == []


def test_a_result_that_takes_too_long_is_a_timeout_and_can_be_asked_for_again(started):
    engine = Device(entry(wait_ms=0))
    engine.hold()
    ticket = started(engine).submit(units(1), job=1)
    with pytest.raises(TimeoutError):
        ticket.result(0.05)
    engine.gate.set()
    assert ticket.result(5) == [outcome(units(1)[0])]


def test_a_cancelled_ticket_never_reaches_the_device_and_its_neighbour_does(started):
    engine = Device(entry(wait_ms=0))
    engine.hold()
    batcher = started(engine)
    on_device = batcher.submit(units(1), job=1)
    assert engine.entered.acquire(timeout=5)
    dropped, kept = batcher.submit(units(5, first=100), job=1), batcher.submit(units(5, first=200), job=1)
    dropped.cancel()
    on_device.cancel()
    assert batcher.stats().waiting_rows == 5
    engine.gate.set()
    assert [out.row for out in kept.result(5)] == list(range(200, 205))
    for ticket in (dropped, on_device):
        with pytest.raises(CancelledError):
            ticket.result(0)
    assert [[row.row for row in run] for run in engine.runs] == [[0], list(range(200, 205))]


def test_stop_finishes_what_has_begun_and_releases_the_rest(started):
    engine = Device(entry(wait_ms=30_000, max_rows=4))
    engine.hold()
    batcher = started(engine)
    begun = batcher.submit(units(6), job=1)  # two micro-batches, the second not full
    assert engine.entered.acquire(timeout=5)
    waiting = batcher.submit(units(3, first=100), job=1)
    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(batcher.stop, 5.0)
        with pytest.raises(Stopped):
            waiting.result(5)
        assert not stopping.done()
        engine.gate.set()
        stopping.result(5)
    assert [out.row for out in begun.result(0)] == list(range(6))
    assert [len(run) for run in engine.runs] == [4, 2]
    with pytest.raises(Stopped):
        batcher.submit(units(1), job=1)


def test_stop_does_not_wait_for_a_stuck_device_beyond_its_drain(started):
    engine = Device(entry(wait_ms=0))
    engine.hold()
    batcher = started(engine)
    ticket = batcher.submit(units(3), job=1)
    assert engine.entered.acquire(timeout=5)
    begun = time.monotonic()
    batcher.stop(drain=0.1)
    assert time.monotonic() - begun < 1.0
    with pytest.raises(Stopped):
        ticket.result(0)


def test_a_batcher_that_never_started_releases_its_tickets(started):
    batcher = Batcher(Device(ENTRY))
    ticket = batcher.submit(units(3), job=1)
    batcher.stop(drain=1)
    with pytest.raises(Stopped):
        ticket.result(0)


def test_running_since_tells_how_long_the_device_has_been_busy(started):
    now = [100.0]
    engine = Device(entry(wait_ms=0))
    engine.hold()
    batcher = started(engine, clock=lambda: now[0])
    assert batcher.running_since() is None
    ticket = batcher.submit(units(1), job=1)
    assert engine.entered.acquire(timeout=5)
    now[0] = 460.0
    assert batcher.running_since() == 100.0
    engine.gate.set()
    ticket.result(5)
    assert batcher.running_since() is None
    assert batcher.stats().busy_seconds == 360.0


def out_of_memory_above(padded: int) -> Callable[[Sequence[Prepared]], None]:
    def check(rows: Sequence[Prepared]) -> None:
        if max(row.tokens for row in rows) * len(rows) > padded:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    return check


def test_out_of_memory_halves_until_it_fits_and_no_row_is_lost(started):
    engine = Device(entry(wait_ms=0, token_budget=1000), out_of_memory_above(200))
    batcher = started(engine)
    assert batcher.submit(units(100), job=1).result(5) == [outcome(unit) for unit in units(100)]
    assert batcher.stats().oom_splits == 7  # 100 -> 50, 50 -> 25, 25, 25, 25 -> 12, 13 each
    assert batcher.stats().failed_rows == 0


class Unlearning(CostModel):
    """Always the largest size, so that only memory bounds it."""

    def observe(self, padded: int, tokens: int, seconds: float) -> None:
        pass


def test_the_ceiling_is_remembered_and_grows_back_when_memory_is_free_again(started):
    room = [300]
    engine = Device(entry(wait_ms=0, token_budget=1000), lambda rows: out_of_memory_above(room[0])(rows))
    batcher = started(engine, cost=Unlearning(1000))
    batcher.submit(units(100), job=1).result(5)
    assert batcher.stats().ceiling == 250
    splits = batcher.stats().oom_splits
    for _ in range(3):
        batcher.submit(units(100), job=1).result(5)
    assert batcher.stats().oom_splits <= splits + 1  # at most one, from a step of growth
    assert max(engine.padded[8:]) <= 400
    room[0] = 10_000
    for _ in range(220):
        batcher.submit(units(100), job=1).result(5)
    assert batcher.stats().ceiling == 1000
    assert engine.padded[-1] == 1000


def test_a_lone_row_that_does_not_fit_fails_and_the_others_do_not(started):
    engine = Device(entry(wait_ms=0, token_budget=1000), out_of_memory_above(200))
    rows = [*units(10), Prepared(10, 500, 10), *units(10, first=11)]
    outcomes = started(engine).submit(rows, job=1).result(5)
    assert [out.row for out in outcomes if isinstance(out, Failed)] == [10]
    assert outcomes[10].code is RowError.OUT_OF_MEMORY
    assert "CUDA out of memory" in outcomes[10].message


def test_one_bad_row_of_64_fails_alone_in_few_runs(started, caplog):
    engine = load_engine(entry(wait_ms=0), "cpu")
    batcher = started(engine)
    rows = [
        unit
        for row in range(64)
        for unit in engine.cpu.prepare(Item(row, Molecule("C" * (row + 1))), {"poison": "C" * 41})
    ]
    with caplog.at_level(logging.ERROR):
        outcomes = batcher.submit(rows, job=1).result(10)
    assert [out.row for out in outcomes] == list(range(64))
    assert [out for out in outcomes if isinstance(out, Failed)] == [
        Failed(40, RowError.ENGINE, "RuntimeError: poison: " + "C" * 41)
    ]
    assert batcher.stats().micro_batches <= 13
    assert (batcher.stats().fault_splits, batcher.stats().failed_rows) == (6, 1)
    assert sum(record.exc_info is not None for record in caplog.records) == 1


def test_a_thousand_failures_of_one_kind_leave_one_traceback(started, caplog):
    def fail(rows: Sequence[Prepared]) -> None:
        raise ValueError("no\nsecond line")

    with caplog.at_level(logging.ERROR):
        outcomes = started(Device(entry(wait_ms=0), fail)).submit(units(50), job=1).result(10)
    assert outcomes == [Failed(row, RowError.ENGINE, "ValueError: no") for row in range(50)]
    assert sum(bool(record.exc_info) for record in caplog.records) == 1


class Careless(Device):
    """An engine that breaks the contract whenever it gets more than one row."""

    def __init__(self, described: ModelEntry, mix_up: Callable[[list[Outcome]], list[Outcome]]) -> None:
        super().__init__(described)
        self._mix_up = mix_up

    def run(self, rows: Sequence[Prepared]) -> Sequence[Outcome]:
        return self._mix_up([outcome(row) for row in rows])


@pytest.mark.parametrize(
    "mix_up",
    [lambda made: made[:1], lambda made: made[::-1], lambda made: made[:1] * len(made)],
    ids=["too few", "turned round", "one for all"],
)
def test_outcomes_are_never_given_to_another_row(started, mix_up):
    outcomes = started(Careless(entry(wait_ms=0), mix_up)).submit(units(9), job=1).result(5)
    assert outcomes == [outcome(unit) for unit in units(9)]


def test_an_engine_that_is_wrong_about_a_lone_row_fails_that_row(started):
    engine = Careless(entry(wait_ms=0), lambda made: [])
    (failed,) = started(engine).submit(units(1), job=1).result(5)
    assert failed == Failed(0, RowError.ENGINE, "WrongOutcomes: 0 outcomes for 1 rows")


def test_samples_of_one_row_are_told_apart(started):
    engine = Device(entry(wait_ms=0), out_of_memory_above(10))
    rows = [Prepared(0, 30, None, sample) for sample in range(3)]
    outcomes = started(engine).submit(rows, job=1).result(5)
    assert [(out.row, out.sample) for out in outcomes] == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), SystemExit(3)], ids=["interrupt", "exit"])
def test_a_fault_that_ends_the_model_thread_releases_every_waiter(started, fault):
    def end(rows: Sequence[Prepared]) -> None:
        raise fault

    engine = Device(entry(wait_ms=0, max_rows=4), end)
    engine.hold()
    batcher = started(engine)
    tickets = [batcher.submit(units(4), job=job) for job in range(3)]
    engine.gate.set()
    for ticket in tickets:
        with pytest.raises(Stopped) as caught:
            ticket.result(5)
        assert caught.value.__cause__ is fault
    assert isinstance(batcher.ended, Stopped)
    assert batcher.running_since() is None
    with pytest.raises(Stopped):
        batcher.submit(units(1), job=1)


def test_a_lost_device_blames_no_row_and_ends_the_batcher(started):
    def lose(rows: Sequence[Prepared]) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be ...")

    engine = Device(entry(wait_ms=0), lose)
    batcher = started(engine)
    ticket = batcher.submit(units(64), job=1)
    with pytest.raises(DeviceLost):
        ticket.result(5)
    assert len(engine.runs) == 1
    assert isinstance(batcher.ended, DeviceLost)


def test_rows_cancelled_while_their_micro_batch_is_being_halved_are_not_retried(started):
    engine = Device(entry(wait_ms=0), out_of_memory_above(10))
    engine.hold()
    batcher = started(engine)
    ticket = batcher.submit(units(64), job=1)
    assert engine.entered.acquire(timeout=5)
    ticket.cancel()
    engine.gate.set()
    assert batcher.submit(units(1), job=1).result(5)
    assert len(engine.runs) == 2


def test_a_late_small_ticket_overtakes_a_big_jobs_queue(started):
    engine = Device(entry(wait_ms=0, max_rows=8, token_budget=80))
    engine.hold()
    batcher = started(engine)
    big = batcher.submit(units(800), job=1)
    assert engine.entered.acquire(timeout=5)
    small = batcher.submit(units(4, first=5000), job=2)
    engine.gate.set()
    small.result(5)
    big.result(5)
    assert max(number for number, run in enumerate(engine.runs) if run[0].row >= 5000 or run[-1].row >= 5000) <= 2


def test_padding_and_fill_say_how_the_room_was_used(started):
    device = Device(entry(token_budget=100, max_rows=10, wait_ms=20))
    batcher = started(device)
    batcher.submit([Prepared(0, 10, 0), Prepared(1, 8, 1), Prepared(2, 9, 2)], job=1).result(20)
    stats = batcher.stats()
    assert stats.padding_waste == pytest.approx(3 / 30)
    assert stats.fill == pytest.approx(30 / 100)
    before = stats
    batcher.submit(units(10, tokens=10), job=1).result(20)
    later = batcher.stats().since(before)
    assert (later.rows, later.padding_waste, later.fill) == (10, 0.0, 1.0)
    assert "10 rows in 4 s, 0 failed, 100 tokens, padding 0.0%, fill 100%" in later.line(4.0)


def test_a_row_beyond_the_budget_fills_the_room(started):
    device = Device(entry(token_budget=100, wait_ms=0))
    batcher = started(device)
    batcher.submit(units(1, tokens=500), job=1).result(20)
    assert batcher.stats().fill == 1.0


def test_micro_batches_shrink_until_they_take_no_longer_than_the_model_may(started):
    def a_token_takes_a_tenth_of_a_millisecond(rows: Sequence[Prepared]) -> None:
        time.sleep(1e-4 * sum(row.tokens for row in rows))

    device = Device(entry(latency_ms=20, token_budget=1000, wait_ms=0), before=a_token_takes_a_tenth_of_a_millisecond)
    batcher = started(device)
    batcher.submit(units(1500, tokens=10), job=1).result(60)
    sizes = [10 * len(run) for run in device.runs]
    assert max(sizes) > 500  # before it had learnt
    assert max(sizes[-10:]) <= 255
