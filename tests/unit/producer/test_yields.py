"""Counting towards a target, and how much to draw next, as pure functions of the samples' keys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from producer.yields import FAILED, INVALID, Keys, key_of, next_round, tally


class Listed:
    """Known molecules as a plain set."""

    def __init__(self, *keys: int) -> None:
        self.known = set(keys)

    def holds(self, keys: Keys) -> NDArray[np.bool_]:
        return np.array([int(key) in self.known for key in keys], dtype=np.bool_)


def keys_of(*keys: int) -> Keys:
    return np.array(keys, dtype=np.uint64)


# Few molecules, so that repeats, failures and invalid samples all come often.
SAMPLES = st.lists(st.integers(0, 12), max_size=120)


@given(SAMPLES, st.integers(1, 12), st.sets(st.integers(2, 12)))
def test_counts_are_those_of_going_through_the_samples_one_by_one(
    keys: list[int], target: int, known: set[int]
) -> None:
    found = tally(keys_of(*keys), target, Listed(*known))
    seen: set[int] = set()
    kept: list[int] = []
    end = failed = valid = novel = 0
    for row, key in enumerate(keys):
        end += 1
        failed += key == FAILED
        if key > INVALID:
            valid += 1
            if key not in seen:
                seen.add(key)
                if key not in known:
                    novel += 1
                    kept.append(row)
        if len(kept) == target:
            break
    assert found.kept.tolist() == kept
    assert (found.end, found.failed, found.valid, found.unique, found.novel) == (end, failed, valid, len(seen), novel)
    assert found.reached == (len(kept) == target)
    assert sum(found.losses().values()) + len(kept) == found.end


@given(SAMPLES, SAMPLES, st.integers(1, 12))
def test_a_reached_target_is_the_same_however_many_samples_follow(
    keys: list[int], later: list[int], target: int
) -> None:
    found, more = tally(keys_of(*keys), target), tally(keys_of(*keys, *later), target)
    if found.reached:
        assert more.counts() == found.counts()
        assert more.kept.tolist() == found.kept.tolist()
    else:
        assert more.kept.tolist()[: len(found.kept)] == found.kept.tolist()


def test_each_share_names_its_denominator() -> None:
    found = tally(keys_of(2, 3, 2, INVALID, FAILED, 4, 5, 5), 9, Listed(4))
    told = {name: (count.count, count.of, count.of_what) for name, count in found.counts().items()}
    assert told == {
        "Valid": (6, 7, "samples"),
        "Unique@6": (4, 6, "valid"),
        "Novelty": (3, 4, "unique"),
        "Kept": (3, 7, "samples"),
    }
    assert found.counts()["Valid"].share == 6 / 7


def test_nothing_has_no_share_and_no_novelty_without_a_reference() -> None:
    counts = tally(keys_of(INVALID), 1).counts()
    assert counts["Valid"].share == 0
    assert counts["Unique@0"].share is None
    assert "Novelty" not in counts


def test_uniqueness_is_given_for_the_usual_k_too() -> None:
    keys = np.tile(np.arange(2, 702, dtype=np.uint64), 2)
    found = tally(keys, 10_000)
    assert found.unique_at == {1000: 700}
    assert [name for name in found.counts() if name.startswith("Unique")] == ["Unique@1000", "Unique@1400"]


@given(st.floats(0.02, 1.0), st.integers(1, 3000), st.integers(0, 2**32))
def test_rounds_reach_the_target_without_drawing_many_more_than_it_takes(share: float, target: int, seed: int) -> None:
    brings = np.random.default_rng(seed).random(200_000) < share
    keys = np.where(brings, np.arange(2, 200_002), INVALID).astype(np.uint64)
    budget, drawn, rounds = len(keys), 0, 0
    while not (found := tally(keys[:drawn], target)).reached:
        more = next_round(found, drawn, budget)
        assert more > 0
        drawn, rounds = drawn + more, rounds + 1
    assert rounds <= 16
    # Past the last sample that was needed: twice the margin, or what a doubling may exceed it by where shares are low.
    assert drawn - found.end <= 4 * np.sqrt(target) / share + target


@given(SAMPLES, st.integers(1, 20), st.integers(0, 40))
def test_a_round_never_exceeds_the_budget_and_is_never_empty_before(keys: list[int], target: int, left: int) -> None:
    found = tally(keys_of(*keys), target)
    if not found.reached:
        more = next_round(found, len(keys), len(keys) + left)
        assert more <= left
        assert (more > 0) == (left > 0)


def test_the_first_round_is_what_is_surely_needed() -> None:
    assert next_round(tally(keys_of(), 10_000), 0, 30_000) == 10_000
    assert next_round(tally(keys_of(), 10_000), 0, 10_000) == 10_000


@pytest.mark.parametrize("smiles", ["C", "CCO", "c1ccccc1", "C[C@H](N)C(=O)O"])
def test_a_key_is_no_word_for_a_sample_without_a_molecule(smiles: str) -> None:
    assert INVALID < key_of(smiles) < 2**64
    assert key_of(smiles) == key_of(smiles) != key_of(smiles + "C")
