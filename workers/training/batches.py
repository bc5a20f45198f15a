"""Batches of molecules that are about as long as each other: little padding, and few shapes to compile for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workers.training.vocabulary import Encoded

WIDTHS = 6  # shapes: each is compiled once, which takes as long as a hundred steps
IGNORED = -100  # the label of what is no token to learn


def widths(lengths: NDArray[np.int64], most: int = WIDTHS) -> list[int]:
    """The widths, at most so many, to which rows of these lengths are padded with the least padding in all.

    Found exactly, by the best way to cover the shorter lengths with one width fewer.
    """
    values, counts = np.unique(lengths, return_counts=True)
    before = np.concatenate([[0], np.cumsum(counts)])
    # area[k][j]: padded tokens of the rows up to the j-th length in k + 1 widths; came: where the last of these begins
    area = [values * before[1:]]
    came: list[NDArray[np.int64]] = []
    for _ in range(min(most, len(values)) - 1):
        steps = np.full((len(values), len(values)), np.iinfo(np.int64).max)
        for last in range(1, len(values)):
            first = np.arange(1, last + 1)
            steps[last, first] = area[-1][first - 1] + values[last] * (before[last + 1] - before[first])
        steps[0, 0] = area[-1][0]
        came.append(steps.argmin(axis=1))
        area.append(steps.min(axis=1))
    found, last = [int(values[-1])], len(values) - 1
    for first in reversed(came):
        last = int(first[last]) - 1
        if last < 0:
            break
        found.append(int(values[last]))
    return found[::-1]


class LengthBatches:
    """A batch sampler: each epoch all rows in an order of its own, in batches of one width.

    What does not fill a batch of its width goes with the next wider ones; fewer rows than a batch sit out an epoch,
    others each time. The order follows from seed and epoch alone, so a run that is taken up again has the batches
    that it would have had.
    """

    def __init__(self, lengths: NDArray[np.int64], shapes: Sequence[int], batch: int, seed: int) -> None:
        """`lengths` of the rows, in tokens; `shapes` are the widths to choose from, as `widths` gives them."""
        self.batch_size = min(batch, len(lengths))
        self.drop_last = True  # asked for by accelerate
        self._class = np.searchsorted(shapes, lengths)
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._class) // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng([self.seed, self.epoch])
        order = random.permutation(len(self._class))
        batches = []
        over = order[:0]
        for width in range(int(self._class.max()) + 1):
            rows = np.concatenate([over, order[self._class[order] == width]])
            full = len(rows) // self.batch_size * self.batch_size
            batches += np.split(rows[:full], full // self.batch_size) if full else []
            over = rows[full:]
        for at in random.permutation(len(batches)):
            yield batches[at].tolist()


class Molecules(torch.utils.data.Dataset[NDArray[np.uint16]]):
    """Rows of token ids, for a `DataLoader`."""

    def __init__(self, encoded: Encoded) -> None:
        self._encoded = encoded

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, at: int) -> NDArray[np.uint16]:
        return self._encoded.row(at)


class Collate:
    """Rows to what a causal model is trained on: `input_ids` and `labels`, [rows, width], padded on the right.

    There is no attention mask: with causal attention nothing sees what stands to its right, and padding is no label.
    """

    def __init__(self, shapes: Sequence[int], *, pad: int, begin: int, end: int) -> None:
        self._widths = np.array(shapes) + 2  # with start and end
        self._pad, self._begin, self._end = pad, begin, end

    def __call__(self, rows: Sequence[NDArray[np.uint16]]) -> dict[str, Any]:
        """See the class."""
        longest = max(map(len, rows)) + 2
        width = int(self._widths[np.searchsorted(self._widths, longest)])
        ids = np.full((len(rows), width), self._pad, dtype=np.int64)
        labels = np.full((len(rows), width), IGNORED, dtype=np.int64)
        for at, row in enumerate(rows):
            end = len(row) + 2
            ids[at, :end] = labels[at, :end] = [self._begin, *row, self._end]
        return {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}
