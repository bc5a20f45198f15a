from __future__ import annotations

import random
import time
from collections.abc import Sequence

import pytest

from schemas.errors import RowError
from schemas.outcomes import Failed, Outcome, Prediction
from schemas.registry import ModelEntry, load_registry
from workers.batcher import Batcher
from workers.engines.contract import Prepared
from workers.engines.load import load_engine
from workers.tickets import DeviceLost

BUDGET = 240
PLACES = 8


def entry() -> ModelEntry:
    fake = load_registry().get("fake-predict")
    limits = fake.limits.model_copy(update={"token_budget": BUDGET, "max_rows": PLACES, "wait_ms": 5.0})
    return fake.model_copy(update={"limits": limits})


def outcome(unit: Prepared) -> Outcome:
    return Prediction(unit.row, str(unit.data), "", [float(unit.tokens)], [None], [None])


class Decoder:
    """An engine whose rows take `data` steps each. It raises once a row numbered `bad` runs, whatever its company."""

    pads = True

    def __init__(self, bad: int | None = None, fault: Exception | None = None, mixed_up: bool = False) -> None:
        self.entry = entry()
        self.cpu = load_engine(self.entry, "cpu").cpu
        self.bad = bad
        self.fault = fault or RuntimeError("bad row")
        self.mixed_up = mixed_up
        self.joined: list[list[Prepared]] = []
        self.steps = 0
        self.widest = 0
        self.most_tokens = 0

    def run(self, rows: Sequence[Prepared]) -> Sequence[Outcome]:
        self._check(rows)
        return [outcome(row) for row in rows]

    def decode(self) -> Running:
        return Running(self)

    def _check(self, rows: Sequence[Prepared]) -> None:
        if any(row.row == self.bad for row in rows):
            raise self.fault


class Running:
    def __init__(self, engine: Decoder) -> None:
        self._engine = engine
        self._left: list[tuple[Prepared, int]] = []

    def admit(self, rows: Sequence[Prepared]) -> None:
        self._engine.joined.append(list(rows))
        self._left += [(row, row.data) for row in rows]
        self._engine.widest = max(self._engine.widest, len(self._left))
        tokens = max(row.tokens for row, _ in self._left) * len(self._left)
        if len(self._left) > 1:
            self._engine.most_tokens = max(self._engine.most_tokens, tokens)

    def step(self) -> Sequence[tuple[Prepared, Outcome]]:
        time.sleep(0.0005)
        self._engine.steps += 1
        self._engine._check([row for row, _ in self._left])
        ended = [row for row, left in self._left if left == 1]
        self._left = [(row, left - 1) for row, left in self._left if left > 1]
        found = [(row, outcome(row)) for row in ended]
        if self._engine.mixed_up and len(found) > 1:
            found[0], found[1] = (found[0][0], found[1][1]), (found[1][0], found[0][1])
        return found


@pytest.fixture
def served():
    running: list[Batcher] = []

    def start(engine: Decoder) -> Batcher:
        batcher = Batcher(engine)
        batcher.start()
        running.append(batcher)
        return batcher

    yield start
    for batcher in running:
        batcher.stop(drain=5)


def rows(count: int, seed: int = 0, longest: int = 60) -> list[Prepared]:
    chance = random.Random(seed)
    return [Prepared(row, tokens := chance.randint(1, longest), tokens) for row in range(count)]


def test_every_row_ends_once_and_others_join_before_the_last_has_ended(served):
    engine = Decoder()
    some, others = rows(100), rows(60, seed=1)
    batcher = served(engine)
    tickets = [batcher.submit(some, job=1), batcher.submit(others, job=2)]
    assert tickets[0].result(20) == [outcome(row) for row in some]
    assert tickets[1].result(20) == [outcome(row) for row in others]
    # Fixed micro-batches of 8 take as many steps as each one's longest row has.
    fixed = sum(max(row.data for row in joined) for joined in engine.joined)
    assert engine.steps < 0.7 * fixed
    assert batcher.stats().rows == 160
    assert batcher.stats().blended >= 1


def test_rows_that_join_keep_to_the_budget_and_the_places(served):
    engine = Decoder()
    batcher = served(engine)
    batcher.submit(rows(200), job=1).result(20)
    assert 1 < engine.widest <= PLACES
    assert engine.most_tokens <= BUDGET


def test_a_row_beyond_the_budget_is_decoded_alone(served):
    engine = Decoder()
    mixed = [*rows(20), Prepared(20, BUDGET + 1, 5), *(Prepared(row, 10, 3) for row in range(21, 40))]
    assert served(engine).submit(mixed, job=1).result(20) == [outcome(row) for row in mixed]
    assert engine.most_tokens <= BUDGET


def test_a_bad_row_fails_alone(served):
    engine = Decoder(bad=17)
    mixed = rows(40)
    found = served(engine).submit(mixed, job=1).result(20)
    expected = [outcome(row) for row in mixed]
    expected[17] = Failed(17, RowError.ENGINE, "RuntimeError: bad row")
    assert found == expected


def test_out_of_memory_lowers_the_ceiling_and_costs_no_row_but_the_one_that_does_not_fit(served):
    engine = Decoder(bad=17, fault=RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    batcher = served(engine)
    found = batcher.submit(rows(40), job=1).result(20)
    assert [one.code for one in found if isinstance(one, Failed)] == [RowError.OUT_OF_MEMORY]
    assert batcher.stats().ceiling < BUDGET


def test_outcomes_of_mixed_up_rows_are_not_believed(served):
    engine = Decoder(mixed_up=True)
    even = [Prepared(row, 10, 4) for row in range(30)]
    assert served(engine).submit(even, job=1).result(20) == [outcome(row) for row in even]


def test_a_lost_device_blames_no_row(served):
    engine = Decoder(bad=3, fault=RuntimeError("CUDA error: device-side assert triggered"))
    with pytest.raises(DeviceLost):
        served(engine).submit(rows(10), job=1).result(20)


def test_what_has_begun_is_finished_when_the_batcher_stops():
    batcher = Batcher(Decoder())
    batcher.start()
    ticket = batcher.submit(some := rows(40), job=1)
    while not ticket.begun:
        time.sleep(0.001)
    batcher.stop(drain=20)
    assert ticket.result(0) == [outcome(row) for row in some]
