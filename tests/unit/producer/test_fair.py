from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from producer.fair import Times, choose
from schemas.ledger.dispatches import Waiting

COSTS = st.floats(0.1, 1000.0)
WEIGHTS = st.sampled_from([1.0, 4.0, 16.0])
BUSY = Times(10_000.0, {1: 10_016.0})  # job 1 is at work


@st.composite
def backlogs(draw: st.DrawFn) -> list[Waiting]:
    waiting: list[Waiting] = []
    for job in range(draw(st.integers(1, 5))):
        weight = draw(WEIGHTS)
        for _ in range(draw(st.integers(1, 8))):
            waiting.append(Waiting(len(waiting), job, draw(COSTS), weight))
    return waiting


@st.composite
def pasts(draw: st.DrawFn) -> Times:
    present = draw(st.floats(0.0, 1000.0))
    ahead = draw(st.dictionaries(st.integers(0, 6), st.floats(0.1, 1000.0), max_size=5))
    return Times(present, {job: present + more for job, more in ahead.items()})


@given(backlogs(), st.integers(1, 50), pasts())
def test_room_is_filled_but_for_a_last_place_and_each_jobs_batches_keep_their_order(
    waiting: list[Waiting], room: int, times: Times
) -> None:
    choice = choose(waiting, room, times)
    assert len(choice.batches) == len(set(choice.batches))
    assert min(room - 1, len(waiting)) <= len(choice.batches) <= min(room, len(waiting))
    job_of = {batch.batch: batch.job for batch in waiting}
    for job in set(job_of.values()):
        mine = [batch for batch in choice.batches if job_of[batch] == job]
        assert mine == sorted(mine)


@given(backlogs(), st.integers(1, 50), pasts())
def test_virtual_time_never_runs_backwards(waiting: list[Waiting], room: int, times: Times) -> None:
    choice = choose(waiting, room, times)
    after = choice.times
    assert after.present >= times.present
    assert all(after.of(job) >= times.of(job) for job in range(7))
    job_of = {batch.batch: batch.job for batch in waiting}
    assert all(after.of(job_of[batch]) > times.of(job_of[batch]) for batch in choice.batches)
    assert all(time > after.present for time in after.ahead.values())  # nothing is kept that the present says


def _shares(jobs: dict[int, float], rounds: int) -> Counter[int]:
    """Batches that each job gets when all have work without end; job number → weight."""
    times = Times()
    counts: Counter[int] = Counter()
    for number in range(rounds):
        waiting = [
            Waiting(number * 1000 + job * 10 + place, job, 64.0, weight)
            for job, weight in jobs.items()
            for place in range(3)
        ]
        choice = choose(waiting, 3, times)
        times = choice.times
        counts.update(batch % 1000 // 10 for batch in choice.batches)
    return counts


def test_jobs_share_by_their_weights() -> None:
    counts = _shares({1: 1.0, 2: 4.0, 3: 16.0}, 210)
    assert abs(counts[2] / counts[1] - 4.0) < 0.3
    assert abs(counts[3] / counts[1] - 16.0) < 1.0


def test_a_hundred_jobs_all_get_their_turn_however_small_the_room() -> None:
    counts = _shares(dict.fromkeys(range(99), 4.0), 66)
    assert set(counts.values()) == {2}


def test_a_job_that_was_idle_has_no_claim_on_the_past() -> None:
    busy = [Waiting(batch, 1, 64.0, 4.0) for batch in range(10)]
    back = [Waiting(100 + batch, 2, 64.0, 4.0) for batch in range(10)]
    chosen = choose([*busy, *back], 10, Times(10_000.0, {1: 10_016.0})).batches
    assert 4 <= sum(batch >= 100 for batch in chosen) <= 6


def test_the_last_place_is_kept_for_a_job_that_has_none() -> None:
    busy = [Waiting(batch, 1, 64.0, 4.0) for batch in range(10)]
    assert choose(busy, 2, BUSY).batches == [0]
    assert choose(busy, 1, BUSY, holding=[1]).batches == []
    newcomer = Waiting(100, 2, 1.0, 16.0)
    assert choose([*busy, newcomer], 1, BUSY, holding=[1]).batches == [100]


def test_several_places_are_kept_where_so_many_are_to_spare() -> None:
    busy = [Waiting(batch, 1, 64.0, 4.0) for batch in range(10)]
    assert choose(busy, 4, BUSY, kept=3).batches == [0]
    assert choose(busy, 4, BUSY, kept=4).batches == [0]  # as it had none
    newcomers = [Waiting(100 + job, job, 1.0, 16.0) for job in (2, 3)]
    chosen = choose([*busy, *newcomers], 4, BUSY, holding=[1], kept=4).batches
    assert chosen == [100 + 2, 100 + 3]


def test_of_two_jobs_that_stand_level_the_one_that_holds_nothing_goes_first() -> None:
    level = [Waiting(0, 1, 64.0, 4.0), Waiting(1, 2, 1.0, 4.0)]
    assert choose(level, 2, Times(10_000.0, {1: 10_016.0, 2: 10_016.0}), holding=[1], kept=2).batches == [1]
