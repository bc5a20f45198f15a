"""Learns, per model and device, what a micro-batch costs, and from it the size at which the device does most a second.

The best size cannot be assumed: a GPU wants to be filled, a CPU is fastest while a micro-batch stays in its cache. So
micro-batches are counted in classes of padded tokens, each class twice as large as the one before, and the budget
climbs from class to class towards the highest rate of real tokens. Pure: no clock, thread or device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TRIALS = 4
"""Micro-batches until a class's rate is believed."""

MEMORY = 32
"""Micro-batches that a class's rate remembers, so that it follows a device that others use too."""

AGAIN = 256
"""After so many micro-batches a neighbour of the best class is tried again."""

WORTH = 1.05
"""A larger class is preferred only where it is so many times faster: the smaller one answers sooner."""


@dataclass(slots=True)
class SizeClass:
    """Micro-batches of 2^n to 2^(n+1) - 1 padded tokens: how many were seen, and recent sums over them."""

    seen: int = 0
    tokens: float = 0.0
    padded: float = 0.0
    seconds: float = 0.0

    def add(self, padded: int, tokens: int, seconds: float) -> None:
        """Count one more, and let the older ones fade."""
        keep = 1 - 1 / MEMORY
        self.seen += 1
        self.tokens = self.tokens * keep + tokens
        self.padded = self.padded * keep + padded
        self.seconds = self.seconds * keep + seconds

    @property
    def rate(self) -> float:
        """Real tokens a second."""
        return self.tokens / max(self.seconds, 1e-9)


class CostModel:
    """The classes of one model on one device, and the padded-token budget that follows from them."""

    def __init__(
        self,
        most: int,
        latency: float | None = None,
        learnt: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        """`most` bounds the budget. `latency` is how many seconds a micro-batch may take; None: as long as it wants.

        `learnt` is what `state` gave in an earlier process.
        """
        self._largest = most.bit_length() - 1
        self._most = most
        self._latency = latency
        self._classes = {
            int(name): SizeClass(int(sums["seen"]), sums["tokens"], sums["padded"], sums["seconds"])
            for name, sums in (learnt or {}).items()
        }
        self._warm: set[int] = set()  # classes of which this process has run one: the first is no measure
        self._since_try = 0
        self._tries = 0
        self._present = self._decide()

    @property
    def budget(self) -> int:
        """The padded tokens that the next micro-batches may have."""
        return min(self._most, (2 << self._present) - 1)

    def observe(self, padded: int, tokens: int, seconds: float) -> None:
        """A micro-batch of so many padded and real tokens took so long."""
        number = padded.bit_length() - 1
        if number not in self._warm:
            self._warm.add(number)
            return
        self._classes.setdefault(number, SizeClass()).add(padded, tokens, seconds)
        self._since_try += 1
        self._present = self._decide()

    def seconds(self, padded: int) -> float | None:
        """How long a micro-batch of so many padded tokens will take, from the class nearest to it; None if none is."""
        known = [(abs(number - padded.bit_length() + 1), number) for number in self._believed()]
        if not known:
            return None
        nearest = self._classes[min(known)[1]]
        return padded * nearest.seconds / nearest.padded

    def rates(self) -> dict[int, float]:
        """Real tokens a second by class, for those that are believed; class n is of 2^n to 2^(n+1) - 1 padded ones."""
        return {number: self._classes[number].rate for number in self._believed()}

    def state(self) -> dict[str, dict[str, float]]:
        """What was learnt, as JSON can hold it."""
        return {
            str(number): {"seen": one.seen, "tokens": one.tokens, "padded": one.padded, "seconds": one.seconds}
            for number, one in list(self._classes.items())  # another thread may be learning
        }

    def _believed(self) -> list[int]:
        return sorted(number for number, one in self._classes.items() if one.seen >= TRIALS)

    def _decide(self) -> int:
        """The class to run in: the best known, or a neighbour of it that is still to be tried."""
        known = [number for number in self._believed() if number <= self._largest]
        if not known:
            return self._largest
        in_time = [number for number in known if self._in_time(number)]
        if not in_time:
            return max(0, known[0] - 1)
        best = in_time[0]
        for number in in_time[1:]:
            if self._classes[number].rate > self._classes[best].rate * WORTH:
                best = number
        neighbours = [number for number in (best - 1, best + 1) if 0 <= number <= self._largest]
        for number in neighbours:
            if number not in known and self._in_time(number):
                return number
        if self._since_try >= AGAIN and neighbours:
            self._since_try = 0
            self._tries += 1
            again = neighbours[self._tries % len(neighbours)]
            if self._in_time(again):
                del self._classes[again]  # what it was when the device was another's too says little now
                return again
        return best

    def _in_time(self, number: int) -> bool:
        if self._latency is None:
            return True
        expected = self.seconds(2**number)
        return expected is None or expected <= self._latency
