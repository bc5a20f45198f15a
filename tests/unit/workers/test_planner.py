from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.plan import Plan, PlanLimits, Wait
from workers.planner import LEAD, WaitingRows, plan

LIMITS = PlanLimits(token_budget=1000, max_rows=32, wait=0.005)
LATE = 1e9  # a time at which no deadline is left

lengths = st.one_of(st.integers(1, 60), st.integers(1, 1500))
submissions = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from([0.5, 1.0, 4.0]), st.lists(lengths, min_size=1, max_size=40)),
    min_size=1,
    max_size=12,
)
some_limits = st.builds(
    PlanLimits,
    token_budget=st.integers(1, 2000),
    max_rows=st.integers(1, 40),
    wait=st.just(0.005),
    waste=st.sampled_from([0.0, 0.25, 1.0]),
    launch_tokens=st.integers(0, 100),
)


class Queue:
    """Waiting rows, and a record of each row's length, job and turn."""

    def __init__(self) -> None:
        self.waiting = WaitingRows()
        self.length: dict[int, int] = {}
        self.job: dict[int, int] = {}
        self.turn: dict[int, int] = {}
        self.served: Counter[int] = Counter()
        self.plans: list[Plan] = []

    def add(self, job: int, tokens: list[int], weight: float = 1.0, arrived: float = 0.0) -> range:
        keys = self.waiting.add(tokens, job=job, weight=weight, arrived=arrived)
        self.length.update(zip(keys, tokens, strict=True))
        self.job.update(dict.fromkeys(keys, job))
        return keys

    def step(self, limits: PlanLimits = LIMITS) -> Plan | None:
        made = plan(self.waiting, limits, LATE)
        if made is None:
            return None
        assert isinstance(made, Plan)
        for key in made.keys:
            assert key not in self.turn, "a row came out twice"
            self.turn[key] = len(self.plans)
            self.served[self.job[key]] += self.length[key]
        self.plans.append(made)
        return made

    def drain(self, limits: PlanLimits = LIMITS) -> list[Plan]:
        while self.step(limits):
            pass
        return self.plans


def filled(adding: Iterable[tuple[int, float, list[int]]], limits: PlanLimits) -> Queue:
    """A queue that rows came into while it was planned from."""
    queue = Queue()
    for turn, (job, weight, tokens) in enumerate(adding):
        queue.add(job, tokens, weight)
        if turn % 3 == 2:
            queue.step(limits)
    return queue


def molecules(count: int, seed: int = 0) -> list[int]:
    """Lengths spread like those of SMILES."""
    draw = random.Random(seed)
    return [max(3, int(draw.lognormvariate(3.6, 0.5))) for _ in range(count)]


@given(submissions, some_limits)
@settings(max_examples=150, deadline=None)
def test_every_row_comes_out_exactly_once_and_within_the_limits(adding, limits):
    queue = filled(adding, limits)
    for made in queue.drain(limits):
        real = [queue.length[key] for key in made.keys]
        assert (made.longest, made.tokens, made.padded) == (max(real), sum(real), max(real) * len(real))
        assert len(real) <= limits.max_rows
        assert made.padded <= limits.token_budget or len(real) == 1
        assert made.padded <= (1 + limits.waste) * made.tokens + limits.launch_tokens
    assert queue.turn.keys() == queue.length.keys()
    assert (queue.waiting.count, queue.waiting.tokens) == (0, 0)


@given(submissions, st.randoms(use_true_random=False))
@settings(max_examples=75, deadline=None)
def test_discarded_rows_never_come_out_and_the_others_all_do(adding, draw):
    queue = Queue()
    gone: set[int] = set()
    for job, weight, tokens in adding:
        keys = queue.add(job, tokens, weight)
        dropped = draw.sample(keys, draw.randrange(len(keys) + 1))
        queue.waiting.discard(dropped, job=job)
        gone.update(dropped)
        queue.step()
        queue.waiting.discard(dropped, job=job)
    queue.drain()
    assert queue.turn.keys() == queue.length.keys() - gone
    assert (queue.waiting.count, queue.waiting.tokens) == (0, 0)


@given(submissions)
@settings(max_examples=75, deadline=None)
def test_the_head_is_the_oldest_row_of_its_job(adding):
    queue = Queue()
    for job, weight, tokens in adding:
        queue.add(job, tokens, weight)
    while made := queue.step():
        head = made.keys[0]
        left = [key for key in queue.length if key not in queue.turn and queue.job[key] == queue.job[head]]
        assert not left or head < min(left)


@given(st.lists(lengths, min_size=2, max_size=60), st.lists(lengths, min_size=2, max_size=60))
@settings(max_examples=100, deadline=None)
def test_no_row_waits_while_others_are_served_more_than_their_share(ours, theirs):
    """While a job waits, another of equal weight gets no more than the job does and a few budgets on top."""
    queue = Queue()
    queue.add(1, ours)
    queue.add(2, theirs)
    slack = (LEAD + 2) * LIMITS.token_budget + 2 * max(ours + theirs)
    before = Counter(queue.served)
    while True:
        left = Counter(queue.job[key] for key in queue.length if key not in queue.turn)
        if len(left) < 2:
            break
        queue.step()
        mine, other = (queue.served[job] - before[job] for job in (1, 2))
        # Room that only the other could use is given away, so the other may get more; what is charged may not.
        assert mine <= other + slack
    assert len(queue.drain()) <= len(ours) + len(theirs)


@pytest.mark.parametrize("odd", [1, 900, 5000], ids=["short", "long", "oversized"])
def test_a_row_of_odd_length_is_not_passed_over_by_an_endless_stream(odd):
    queue = Queue()
    stream = iter(molecules(100_000))
    queue.add(1, [next(stream) for _ in range(200)])
    (key,) = queue.add(1, [odd])
    while key not in queue.turn:
        made = queue.step()
        queue.add(1, [next(stream) for _ in made.keys])
    assert queue.turn[key] <= 200  # at the latest when all that were older are gone


def test_an_oversized_row_goes_alone_and_blocks_nobody():
    queue = Queue()
    (giant,) = queue.add(1, [5000])
    queue.add(1, [10] * 50)
    plans = queue.drain()
    assert plans[0].keys == (giant,)
    assert [len(made.keys) for made in plans[1:]] == [32, 18]


def test_mixed_lengths_are_padded_little_when_many_rows_wait():
    draw = random.Random(3)
    queue = Queue()
    limits = PlanLimits(token_budget=16384, max_rows=256, wait=0.005, launch_tokens=1024)
    queue.add(1, molecules(3000))
    queue.add(2, [int(2 ** draw.uniform(2, 11)) for _ in range(1000)])
    for _ in range(20):
        queue.step(limits)
    padded, real = sum(made.padded for made in queue.plans), sum(made.tokens for made in queue.plans)
    in_order = 300 * max(molecules(300)) / sum(molecules(300))
    assert padded / real < 1.2 < 2 < in_order


@given(submissions, some_limits.map(lambda limits: replace(limits, pads=False)))
@settings(max_examples=100, deadline=None)
def test_without_padding_rows_come_out_once_by_their_age_and_the_budget_bounds_their_sum(adding, limits):
    queue = filled(adding, limits)
    for made in queue.drain(limits):
        real = [queue.length[key] for key in made.keys]
        assert (made.longest, made.tokens) == (max(real), sum(real))
        assert len(real) <= limits.max_rows
        assert made.tokens <= limits.token_budget or len(real) == 1
    assert queue.turn.keys() == queue.length.keys()
    for job in set(queue.job.values()):
        turns = [queue.turn[key] for key in sorted(queue.turn) if queue.job[key] == job]
        assert turns == sorted(turns)
    assert (queue.waiting.count, queue.waiting.tokens) == (0, 0)


def test_without_padding_jobs_are_served_by_their_weights_whatever_their_lengths():
    limits = replace(LIMITS, pads=False)
    queue = Queue()
    queue.add(1, [10] * 6000, weight=4.0)
    queue.add(2, [300] * 200)
    for _ in range(40):
        queue.step(limits)
    assert queue.served[1] / queue.served[2] == pytest.approx(4.0, rel=0.1)


def backlogged(shares: dict[int, float], draw: Callable[[int, random.Random], int], turns: int) -> Queue:
    """Jobs that always have 200 rows waiting, run for so many turns."""
    queue, source = Queue(), random.Random(5)
    for job, weight in shares.items():
        queue.add(job, [draw(job, source) for _ in range(200)], weight)
    for _ in range(turns):
        for job, taken in Counter(queue.job[key] for key in queue.step().keys).items():
            queue.add(job, [draw(job, source) for _ in range(taken)], shares[job])
    return queue


@pytest.mark.parametrize(
    "draw",
    [
        lambda job, source: int(source.lognormvariate(3.6, 0.5)) + 1,
        lambda job, source: source.randint(5, 12) if job == 1 else source.randint(150, 400),
        lambda job, source: int(2 ** source.uniform(2, 9.9)),
    ],
    ids=["alike", "far apart", "spread wide"],
)
@pytest.mark.parametrize("weight", [1.0, 4.0])
def test_backlogged_jobs_are_served_by_their_weights(draw, weight):
    served = backlogged({1: weight, 2: 1.0}, draw, 600).served
    assert served[1] / served[2] == pytest.approx(weight, rel=0.05)


def test_many_jobs_share_equally_whatever_the_number_of_their_rows():
    queue = Queue()
    queue.add(0, molecules(5000))
    for job in range(1, 8):
        queue.add(job, molecules(200, seed=job))
    for _ in range(40):
        queue.step()
    least, *_, most = sorted(queue.served.values())
    assert most - least <= 3 * LIMITS.token_budget


def test_a_small_job_that_comes_late_is_served_promptly():
    queue = Queue()
    queue.add(1, molecules(8000))
    for _ in range(50):
        queue.step()
    small = queue.add(2, molecules(20, seed=1))
    asked = len(queue.plans)
    for _ in range(12):
        queue.step()
    assert queue.turn[small[0]] == asked
    assert max(queue.turn[key] for key in small) < asked + 12  # by its share alone it would take 2 of them


def test_a_job_furthest_behind_is_first_to_fill_the_window():
    queue = Queue()
    queue.add(1, [30] * 1000)
    for _ in range(10):
        queue.step()
    small = queue.add(2, [30] * 20)
    assert set(small) < set(queue.step().keys)


def test_equal_jobs_share_each_micro_batch_equally():
    queue = Queue()
    for job in (1, 2):
        queue.add(job, [30] * 1000)
    for _ in range(20):
        jobs = Counter(queue.job[key] for key in queue.step().keys)
        assert abs(jobs[1] - jobs[2]) <= 1


@pytest.mark.parametrize("been_here", [True, False], ids=["idle", "new"])
def test_a_job_that_waited_for_nothing_has_saved_up_no_credit(been_here):
    queue = Queue()
    queue.add(1, molecules(8000))
    if been_here:
        queue.add(2, [40])
    for _ in range(60):
        queue.step()
    before = Counter(queue.served)
    queue.add(2, molecules(2000, seed=1))
    for _ in range(60):
        queue.step()
    ours, theirs = (queue.served[job] - before[job] for job in (2, 1))
    assert ours / theirs == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("newcomers", [False, True], ids=["alone", "among newcomers"])
def test_a_job_does_not_escape_its_charge_by_being_idle_for_a_moment(newcomers):
    queue = Queue()
    queue.add(1, [30] * 8000)
    for turn in range(80):
        if newcomers:
            queue.add(10 + turn, [30])
        back = queue.add(2, [30] * 31)  # comes back as soon as it is served
        while not queue.turn.keys() >= set(back):
            queue.step()
    assert queue.served[2] <= queue.served[1] + 3 * LIMITS.token_budget


def test_room_that_nobody_else_could_use_is_not_paid_for_by_a_long_wait():
    """While one job's rows fit no window but their own, another fills the room left; then both have rows alike."""
    queue = Queue()
    limits = PlanLimits(token_budget=1000, max_rows=32, wait=0.0, waste=1.0)
    queue.add(1, [30] * 6000)
    queue.add(2, [20] * 60)  # heads of other lengths than the first's, each with room for 30 of its rows
    for turn in range(60):
        queue.waiting.discard([key for key in queue.length if queue.job[key] == 2 and key not in queue.turn], job=2)
        queue.add(2, [20, 900 + turn])
        queue.step(limits)
    lead = queue.served[1] - queue.served[2]
    assert lead > 10 * limits.token_budget
    queue.add(2, [900] * 100)
    asked = len(queue.plans)
    for _ in range(20):
        queue.step(limits)
    heads = [queue.job[made.keys[0]] for made in queue.plans[asked:]]
    assert heads.index(1) <= LEAD + 2


@given(st.floats(0, 100), st.lists(st.floats(0, 0.02), min_size=1, max_size=6))
def test_the_deadline_counts_from_the_first_row_that_waits(start, gaps):
    waiting = WaitingRows()
    now = start
    for job, gap in enumerate(gaps):
        now += gap
        waiting.add([10], job=job, weight=1.0, arrived=now)
    first = start + gaps[0]
    decision = plan(waiting, LIMITS, first)
    assert decision == Wait(first + LIMITS.wait)
    assert plan(waiting, LIMITS, math.nextafter(first + LIMITS.wait, -math.inf)) == decision
    assert isinstance(plan(waiting, LIMITS, first + LIMITS.wait), Plan)


@pytest.mark.parametrize("tokens", [[100] * 10, [1] * 32, [1000], [5000]], ids=["budget", "rows", "one", "oversized"])
def test_a_full_budget_goes_at_once(tokens):
    waiting = WaitingRows()
    waiting.add(tokens[:-1], job=1, weight=1.0, arrived=0.0)
    assert not isinstance(plan(waiting, LIMITS, 0.0), Plan)
    waiting.add(tokens[-1:], job=1, weight=1.0, arrived=0.0)
    assert isinstance(plan(waiting, LIMITS, 0.0), Plan)


def test_few_rows_of_unlike_length_go_together_when_that_costs_less_than_a_launch():
    apart, together = (
        PlanLimits(token_budget=10_000, max_rows=64, wait=0.0, launch_tokens=launch) for launch in (0, 600)
    )
    for limits, expected in ((apart, 3), (together, 1)):
        queue = Queue()
        queue.add(1, [5, 30, 100])
        assert len(queue.drain(limits)) == expected


def test_nothing_waits_means_no_decision():
    assert plan(WaitingRows(), LIMITS, 0.0) is None


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_a_weight_that_is_no_share_is_refused(weight):
    with pytest.raises(ValueError, match="weight"):
        WaitingRows().add([1], job=1, weight=weight, arrived=0.0)


def test_planning_stays_cheap_with_ten_thousand_rows_waiting():
    """A sort of all that waits for each micro-batch would cost ten times as much."""
    queue = WaitingRows()
    for job in range(8):
        queue.add(molecules(1250, seed=job), job=job, weight=1.0, arrived=0.0)
    limits = PlanLimits(token_budget=4096, max_rows=128, wait=0.0, launch_tokens=256)
    spent = []
    fresh = molecules(128, seed=9)
    for turn in range(150):
        begun = perf_counter()
        made = plan(queue, limits, 0.0)
        spent.append(perf_counter() - begun)
        queue.add(fresh[: len(made.keys)], job=turn % 8, weight=1.0, arrived=0.0)
    assert sorted(spent)[len(spent) // 2] < 0.001


def test_the_same_rows_give_the_same_plans():
    def run() -> list[Plan]:
        queue = Queue()
        for job in range(4):
            queue.add(job, molecules(300, seed=job), weight=1.0 + job)
        return queue.drain()

    assert run() == run()
