"""What a benchmark reports, and how two ways of doing the same work are timed side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: ours beside another way of doing the same, as a ratio of which more is better.

    `bar` is the ratio to reach; None for a figure that is only reported. `smaller` says that less is better of the
    two figures themselves (microseconds a row), so that the ratio is turned over.
    """

    name: str
    against: str
    ours: float
    theirs: float
    unit: str
    bar: float | None
    smaller: bool = False

    @property
    def ratio(self) -> float:
        """How many times better ours is."""
        return self.theirs / self.ours if self.smaller else self.ours / self.theirs

    @property
    def verdict(self) -> str:
        """`ok`, `short` of the bar, or nothing where there is no bar."""
        return "" if self.bar is None else "ok" if self.ratio >= self.bar else "short"


def alternate(ways: Mapping[str, Callable[[], float]], repeats: int = 5) -> dict[str, float]:
    """Time each way in turn, `repeats` times after one pass to warm up: the median seconds of each.

    A way does its work once and returns the seconds that count, so that it can leave out what the other does not do.
    Each time it has a thread of its own: OpenMP's threads, which end with it, would be in the next way's way.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            taken = in_a_thread(way)
            if repeat:
                seconds[name].append(taken)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def in_a_thread(work: Callable[[], T]) -> T:
    """Do it in a thread that ends with it, and OpenMP's threads that helped it as well (see `load_engine`)."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()
