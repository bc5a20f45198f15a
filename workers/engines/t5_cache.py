"""The keys and values of rows that decode together, each at a position of its own.

All rows write into the same column, so a row that joins later merely starts further right, and what lies before its
start is masked. Since T5 knows positions by distance alone, that is exact. Rows lie side by side without gaps: where
one has left, the last takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

GRAIN = 64  # columns are added in multiples of this


class T5Cache:
    """`count` rows, of whatever length. Room is added as it is needed."""

    def __init__(self, layers: int, heads: int, width: int, like: Tensor) -> None:
        """Of a network with so many layers and heads of this width; tensors are of the kind of `like`."""
        self._written = like.new_zeros((layers, 2, 1, heads, 2 * GRAIN, width))
        self._sources = like.new_zeros((layers, 2, 1, heads, GRAIN, width))
        self._heads = heads
        self._starts: list[int] = []  # the column of each row's first token
        self._lengths: list[int] = []  # of each row's source
        self._column = -1  # the one that was written last
        self._low = 0  # the first that any row reads
        self._longest = 0
        self.mask = like.new_zeros(())  # keeps each row from the padding behind its source, [rows x heads, 1, longest]

    def join(self, sources: Sequence[Tensor]) -> None:
        """Take in rows by their sources' keys and values, [layers, 2, heads, tokens, width] each."""
        lengths = [source.shape[3] for source in sources]
        rows = self.count + len(sources)
        self._sources = _grown(self._sources, rows, max(lengths))
        self._written = _grown(self._written, rows, 0)
        for place, (source, length) in enumerate(zip(sources, lengths, strict=True), self.count):
            self._sources[:, :, place, :, :length] = source
        self._starts += [self._column + 1] * len(sources)
        self._lengths += lengths
        self._settle()

    def leave(self, places: Sequence[int]) -> None:
        """Let rows go, the later ones first; the last one takes each one's place."""
        for place in sorted(places, reverse=True):
            length, start = self._lengths.pop(), self._starts.pop()
            last = len(self._lengths)
            if place != last:
                self._sources[:, :, place, :, :length] = self._sources[:, :, last, :, :length]
                written = self._written[..., start : self._column + 1, :]
                written[:, :, place] = written[:, :, last]
                self._lengths[place], self._starts[place] = length, start
        self._settle()

    @property
    def count(self) -> int:
        """The rows there are."""
        return len(self._lengths)

    def _settle(self) -> None:
        """Renew the mask after rows have joined or left."""
        if not self._lengths:
            return
        self._longest = max(self._lengths)
        places = torch.arange(self._longest, device=self._sources.device)
        behind = places >= torch.tensor(self._lengths, device=self._sources.device)[:, None]
        mask = self._sources.new_zeros(behind.shape).masked_fill_(behind, -torch.inf)
        self.mask = mask[:, None].expand(-1, self._heads, -1).reshape(-1, 1, self._longest)

    def advance(self, bias_before: Callable[[int], Tensor]) -> Tensor:
        """Open the next column; the bias of its position to those before it: [rows x heads, 1, columns].

        `bias_before` gives the model's own, [heads, columns]. What lies before a row's start is masked.
        """
        self._column += 1
        if self._column == self._written.shape[4]:
            self._make_room()
        self._low = min(self._starts)
        columns = self._column + 1 - self._low
        places = torch.arange(self._low, self._column + 1, device=self._written.device)
        before = places < torch.tensor(self._starts, device=self._written.device)[:, None]
        bias = bias_before(columns)[None].expand(self.count, -1, -1)
        return bias.masked_fill(before[:, None], -torch.inf).reshape(self.count * self._heads, 1, columns)

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write this column's keys and values, [rows, heads, width].

        Gives all that may be read, [rows x heads, columns, width] each.
        """
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
        low = min(self._starts)
        if 2 * low >= self._column:
            self._written[..., : self._column - low, :] = self._written[..., low : self._column, :].clone()
            self._starts = [start - low for start in self._starts]
            self._column -= low
        else:
            self._written = _grown(self._written, 0, 2 * self._column)


def _grown(cache: Tensor, rows: int, columns: int) -> Tensor:
    """The same cache with room for at least so many rows and columns. The room is zeros: masked, but multiplied."""
    held = cache.shape
    if rows <= held[2] and columns <= held[4]:
        return cache
    rows = rows if rows <= held[2] else max(rows, 2 * held[2])
    grown = cache.new_zeros(
        (*held[:2], max(rows, held[2]), held[3], max(-(-columns // GRAIN) * GRAIN, held[4]), held[5])
    )
    grown[:, :, : held[2], :, : held[4]] = cache
    return grown
