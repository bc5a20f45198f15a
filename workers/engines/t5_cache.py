"""The keys and values of rows that decode together, each at a position of its own.

All rows write into the same column, so a row that joins later merely starts further right, and what lies before its
start is masked. Since T5 knows positions by distance alone, that is exact. Rows lie side by side without gaps: where
one has left, the last takes its place.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

GRAIN = 64  # columns are added in multiples of this


class T5Cache:
    """Room for `slots` rows; `count` of them are taken. Columns are added as they are needed."""

    def __init__(self, layers: int, slots: int, heads: int, width: int, like: Tensor) -> None:
        self._written = like.new_zeros((layers, 2, slots, heads, 2 * GRAIN, width))
        self._sources = like.new_zeros((layers, 2, slots, heads, GRAIN, width))
        self._heads = heads
        self._starts = [0] * slots  # the column of each row's first token
        self._lengths = [0] * slots  # of each row's source
        self._column = -1  # the one that was written last
        self._low = 0  # the first that any row reads
        self._longest = 0
        self.count = 0
        self.mask = like.new_zeros(())  # keeps each row from the padding behind its source, [rows x heads, 1, longest]

    def join(self, source: Tensor) -> None:
        """Take in a row by its source's keys and values [layers, 2, heads, tokens, width]."""
        length = source.shape[3]
        if length > self._sources.shape[4]:
            self._sources = _widened(self._sources, length)
        self._sources[:, :, self.count, :, :length] = source
        self._starts[self.count] = self._column + 1
        self._lengths[self.count] = length
        self.count += 1

    def leave(self, place: int) -> None:
        """Let a row go; the last one takes its place."""
        self.count -= 1
        last = self.count
        if place != last:
            length, columns = self._lengths[last], slice(self._starts[last], self._column + 1)
            self._sources[:, :, place, :, :length] = self._sources[:, :, last, :, :length]
            self._written[:, :, place, :, columns] = self._written[:, :, last, :, columns]
            self._lengths[place], self._starts[place] = length, self._starts[last]

    def settle(self) -> None:
        """Renew the mask after rows have joined or left."""
        lengths = self._lengths[: self.count]
        self._longest = max(lengths)
        places = torch.arange(self._longest, device=self._sources.device)
        behind = places >= torch.tensor(lengths, device=self._sources.device)[:, None]
        self.mask = self._each_head(self._sources.new_zeros(behind.shape).masked_fill_(behind, -torch.inf))

    def advance(self, bias_before: Callable[[int], Tensor]) -> Tensor:
        """Open the next column; the bias of its position to those before it: [rows x heads, 1, columns].

        `bias_before` gives the model's own, [heads, columns]. What lies before a row's start is masked.
        """
        self._column += 1
        if self._column == self._written.shape[4]:
            self._make_room()
        starts = self._starts[: self.count]
        self._low = min(starts)
        columns = self._column + 1 - self._low
        places = torch.arange(self._low, self._column + 1, device=self._written.device)
        before = places < torch.tensor(starts, device=self._written.device)[:, None]
        bias = bias_before(columns)[None].expand(self.count, -1, -1)
        return bias.masked_fill(before[:, None], -torch.inf).reshape(self.count * self._heads, 1, columns)

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write this column's keys and values [rows, heads, width]; all that may be read: [rows x heads, columns, width]."""
        written = self._written[layer, :, : self.count]
        written[0, :, :, self._column] = keys
        written[1, :, :, self._column] = values
        seen = written[:, :, :, self._low : self._column + 1].flatten(1, 2)
        return seen[0], seen[1]

    def source(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the rows' sources: [rows x heads, longest, width]."""
        seen = self._sources[layer, :, : self.count, :, : self._longest].flatten(1, 2)
        return seen[0], seen[1]

    def _make_room(self) -> None:
        """Drop the columns that nobody reads any more, or add as many as there are."""
        low = min(self._starts[: self.count])
        if 2 * low >= self._column:
            self._written[..., : self._column - low, :] = self._written[..., low : self._column, :].clone()
            self._starts = [max(0, start - low) for start in self._starts]
            self._column -= low
        else:
            self._written = _widened(self._written, 2 * self._column)

    def _each_head(self, mask: Tensor) -> Tensor:
        return mask[:, None].expand(-1, self._heads, -1).reshape(-1, 1, mask.shape[1])


def _widened(cache: Tensor, columns: int) -> Tensor:
    """The same cache with room for so many columns."""
    columns = -(-columns // GRAIN) * GRAIN
    wider = cache.new_zeros((*cache.shape[:4], columns, cache.shape[5]))
    wider[..., : cache.shape[4], :] = cache
    return wider
