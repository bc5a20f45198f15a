"""A paper and its summary as token ids to learn from: read by the engine's own rules, in one window.

A paper that does not fit is read in parts: of each section its first sentences, in proportion to the section's length.
The first window alone would hold an introduction, and a summary also tells of methods and results: the model would
learn to write what it has not read. Of a long paper the engine, too, reads every section, window by window, and at last
a text that spans the whole paper, as these sentences do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.items import Item, Paper, Section
from schemas.sentences import split
from workers import papers
from workers.engines.contract import Prepared
from workers.engines.seq2seq_cpu import WindowWork
from workers.papers import Place
from workers.training.paper_source import Pair


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids with all that belongs around them; `row` counts from 0 in the source."""

    row: int
    source: NDArray[np.int32]
    target: NDArray[np.int32]


class Articles:
    """Turns pairs into examples. Sources have at most `reads` tokens, prefix included, and targets `writes`."""

    def __init__(self, tokenizer: Any, *, prefix: str, reads: int, writes: int) -> None:
        self._tokenizer = tokenizer.backend_tokenizer
        self._work = WindowWork(self._tokenizer, reads)
        self._asked = {"prefix": prefix, "max_windows": 1, "passes": 1}
        self._room = reads - len(self._tokenizer.encode(prefix).ids)
        self._writes = writes

    def example(self, row: int, pair: Pair) -> Example | str:
        """The example, or why there is none.

        Where the whole target stands in the paper, it is taken out there. A target that is too long ends with its last
        sentence that fits.
        """
        written = [" ".join(text.split()) for text in split(pair.target)]
        places = without(papers.body(pair.paper), written)
        if not places:
            return "without text beside the target"
        target = self._target(written)
        if target is None:
            return f"with a target whose first sentence has more than {self._writes} tokens"
        source = self._source(places)
        if source is None:
            return "with a prefix that leaves no room"
        return Example(row, np.array(source, np.int32), np.array(target, np.int32))

    def _source(self, places: Sequence[Place]) -> Sequence[int] | None:
        lengths = [
            len(one.ids)
            for one in self._tokenizer.encode_batch([place.text for place in places], add_special_tokens=False)
        ]
        room = self._room
        while True:
            chosen = groupby(in_proportion(places, lengths, room), key=lambda place: place.section)
            sections = tuple(Section("", tuple(place.text for place in some)) for _, some in chosen)
            (unit,) = self._work.prepare(Item(0, Paper("", sections)), self._asked)
            if not isinstance(unit, Prepared):
                return None
            if unit.data.coverage >= 1 or sum(len(section.paragraphs) for section in sections) == 1:
                window: Sequence[int] = unit.data.windows[0]
                return window
            room -= max(1, room // 20)  # together they make more tokens than each for itself

    def _target(self, written: Sequence[str]) -> Sequence[int] | None:
        for count in range(len(written), 0, -1):
            ids: list[int] = self._tokenizer.encode(" ".join(written[:count])).ids
            if len(ids) <= self._writes:
                return ids
        return None


def in_proportion(places: Sequence[Place], lengths: Sequence[int], room: int) -> list[Place]:
    """Of each section its first sentences, in proportion to its length, so that all have at most `room` tokens.

    What a section leaves of its share goes to the next ones. If no sentence fits, the first is taken all the same.
    """
    total = sum(lengths)
    if total <= room:
        return list(places)
    kept: list[Place] = []
    used = passed = 0
    for _, some in groupby(zip(places, lengths, strict=True), key=lambda one: one[0].section):
        section = list(some)
        passed += sum(length for _, length in section)
        for place, length in section:
            if (used + length) * total > passed * room:
                break
            kept.append(place)
            used += length
    return kept or [places[0]]


def without(places: Sequence[Place], written: Sequence[str]) -> list[Place]:
    """The sentences without those that are the whole target, one after the other, wherever that stands."""
    texts = [place.text for place in places]
    kept: list[Place] = []
    at = 0
    while at < len(places):
        if texts[at : at + len(written)] == list(written):
            at += len(written)
        else:
            kept.append(places[at])
            at += 1
    return kept
