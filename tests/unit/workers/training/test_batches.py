"""Batches of one width: the least padding there can be, each row at most once an epoch, the same order every time."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.training.batches import IGNORED, Collate, LengthBatches, Molecules, widths
from workers.training.vocabulary import Encoded

LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=40).map(np.array)


def padded(lengths: np.ndarray, shapes: list[int]) -> int:
    return int(np.array(shapes)[np.searchsorted(shapes, lengths)].sum())


@given(LENGTHS, st.integers(1, 4))
def test_no_other_choice_of_as_many_widths_pads_less(lengths: np.ndarray, most: int) -> None:
    found = widths(lengths, most)
    assert len(found) <= most
    assert found == sorted(set(found))
    assert found[-1] == lengths.max()
    shorter = sorted(set(lengths.tolist()) - {found[-1]})
    others = (sorted([*some, found[-1]]) for count in range(most) for some in combinations(shorter, count))
    assert padded(lengths, found) == min(padded(lengths, other) for other in others)


@given(LENGTHS, st.integers(1, 9), st.integers(0, 3))
def test_an_epoch_has_only_full_batches_and_no_row_twice(lengths: np.ndarray, size: int, epoch: int) -> None:
    batches = LengthBatches(lengths, widths(lengths, 3), size, seed=5)
    batches.set_epoch(epoch)
    found = list(batches)
    rows = [row for batch in found for row in batch]
    assert len(found) == len(batches) == len(lengths) // min(size, len(lengths))
    assert all(len(batch) == batches.batch_size for batch in found)
    assert len(rows) == len(set(rows))
    assert set(rows) <= set(range(len(lengths)))
    assert len(lengths) - len(rows) < size


def test_rows_of_a_batch_are_of_one_width_but_for_what_was_left_over() -> None:
    lengths = np.random.default_rng(0).integers(5, 50, 1000)
    shapes = widths(lengths)
    mixed = sum(
        len(set(np.searchsorted(shapes, lengths[batch]).tolist())) > 1
        for batch in LengthBatches(lengths, shapes, 10, seed=0)
    )
    assert mixed < len(shapes)


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    lengths = np.random.default_rng(0).integers(5, 50, 500)

    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = LengthBatches(lengths, widths(lengths), 16, seed)
        batches.set_epoch(epoch)
        return list(batches)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


@pytest.fixture
def rows() -> Molecules:
    return Molecules(Encoded(np.array([7, 8, 9, 7, 7], np.uint16), np.array([0, 3, 4, 5]), {}))


def test_padding_stands_on_the_right_and_is_no_label(rows: Molecules) -> None:
    batch = Collate([1, 3], pad=0, begin=1, end=2)([rows[0], rows[1]])
    assert batch["input_ids"].tolist() == [[1, 7, 8, 9, 2], [1, 7, 2, 0, 0]]
    assert batch["labels"].tolist() == [[1, 7, 8, 9, 2], [1, 7, 2, IGNORED, IGNORED]]


def test_a_batch_is_as_wide_as_the_next_of_the_widths(rows: Molecules) -> None:
    batch = Collate([2, 3], pad=0, begin=1, end=2)([rows[1], rows[2]])
    assert tuple(batch["input_ids"].shape) == (2, 4)
