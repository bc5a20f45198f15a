"""Decides what the device computes next: which waiting rows make a micro-batch, or until when to wait for company.

A decision depends on nothing but the waiting rows, the limits and the time that is passed in, so that it is tested
without threads, clocks or a device. Three aims meet here:

* **Little padding.** A micro-batch costs longest x count, so rows of similar length go together: it is a window of
  lengths around its first row, the head, as wide as the budget and the bound on padding allow. Where an engine pads
  nothing it costs the sum of lengths, and the oldest rows go together.
* **Fair shares.** Each job has a virtual time, the tokens it was served over its weight. The head is the oldest row
  of the job that is furthest behind, and the window is filled job by job in the same order, so that a big job
  cannot push a small one out (start-time fair queueing, Goyal, Vin and Cheng 1996).
* **No starvation.** The oldest row of the job furthest behind is always in the next micro-batch, however its length
  fits; a row beyond the budget goes alone.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace
from math import inf

from workers.plan import Plan, PlanLimits, Wait

LEAD = 2.0
"""How many full budgets a job may be ahead of the job furthest behind. It is charged no more for room in a window
that the jobs behind it could not use, or it would pay for that gift by waiting long afterwards."""


@dataclass(slots=True)
class _Share:
    """One job's waiting rows, by age and by length, and how far it has been served."""

    weight: float
    virtual: float
    by_age: OrderedDict[int, tuple[int, float]] = field(default_factory=OrderedDict)  # key -> tokens, arrival
    by_length: list[tuple[int, int]] = field(default_factory=list)  # sorted (tokens, key)

    def head(self) -> tuple[int, tuple[int, float]]:
        """The oldest row: its key, and its tokens and arrival."""
        return next(iter(self.by_age.items()))


def _furthest_behind(shares: Iterable[_Share]) -> _Share:
    return min(shares, key=lambda share: (share.virtual, share.head()[0]))


class WaitingRows:
    """The rows that wait for the device, and each job's served share. Adding and taking cost O(log n) a row."""

    def __init__(self) -> None:
        self.count = 0
        self.tokens = 0
        self._next_key = 0
        self._clock = 0.0  # virtual time of the last head; never runs backwards while rows wait
        self._shares: dict[int, _Share] = {}

    def add(self, tokens: Sequence[int], *, job: int, weight: float, arrived: float) -> range:
        """Let rows of these lengths wait, and return their keys. Keys grow with arrival and are never used again.

        A job that was idle starts at the present virtual time: it saves up no credit. A job's latest weight counts.

        Raises:
            ValueError: the weight is not a positive number.
        """
        if not 0 < weight < inf:
            raise ValueError(f"a job's weight is a positive number, not {weight}")
        keys = range(self._next_key, self._next_key + len(tokens))
        self._next_key = keys.stop
        share = self._shares.get(job)
        if share is None:
            self._forget_idle()
            share = self._shares[job] = _Share(weight, self._clock)
        elif not share.by_age:
            share.virtual = max(share.virtual, self._clock)
        share.weight = weight
        fresh = list(zip(tokens, keys, strict=True))
        share.by_age.update((key, (length, arrived)) for length, key in fresh)
        if len(fresh) * 64 < len(share.by_length):
            for entry in fresh:
                insort(share.by_length, entry)
        else:
            share.by_length += fresh
            share.by_length.sort()
        self.count += len(fresh)
        self.tokens += sum(tokens)
        return keys

    def discard(self, keys: Iterable[int], *, job: int) -> None:
        """Drop those of a job's rows that still wait; the others are left out without complaint."""
        share = self._shares.get(job)
        if share is None:
            return
        for key in keys:
            row = share.by_age.pop(key, None)
            if row is not None:
                del share.by_length[bisect_left(share.by_length, (row[0], key))]
                self.count -= 1
                self.tokens -= row[0]

    def oldest_arrival(self) -> float:
        """When the row that waits longest came. At least one row must wait."""
        return min(next(iter(share.by_age.values()))[1] for share in self._shares.values() if share.by_age)

    def head_tokens(self) -> int:
        """The length of the row whose turn it is. At least one row must wait."""
        return _furthest_behind(self._backlogged()).head()[1][0]

    def _backlogged(self) -> list[_Share]:
        return [share for share in self._shares.values() if share.by_age]

    def take(self, limits: PlanLimits) -> Plan:
        """Take out the next micro-batch and charge its jobs. At least one row must wait."""
        backlogged = self._backlogged()
        if not limits.pads:
            return self._take_oldest(backlogged, limits)
        first = _furthest_behind(backlogged)
        self._clock = first.virtual
        key, (length, _) = first.head()
        place = bisect_left(first.by_length, (length, key))
        windows = [_Window(first, place, place + 1, first.virtual + length / first.weight)]
        for share in backlogged:
            if share is not first:
                place = bisect_left(share.by_length, (length,))
                windows.append(_Window(share, place, place, share.virtual))
        # Padding may cost more than its share where that saves a micro-batch: when all that waits may fit into one.
        spare = limits.launch_tokens if self.tokens <= limits.token_budget else 0
        longest, tokens = _fill(windows, length, limits, spare)
        taken = [key]
        for window in windows:
            taken += self._remove(window, key)
            # Jobs other than the first may have used room that jobs further behind had no fitting rows for.
            charged = window.virtual
            if window.share is not first:
                charged = min(charged, self._clock + LEAD * limits.token_budget / window.share.weight)
            window.share.virtual = max(window.share.virtual, charged)
        return self._taken(taken, longest, tokens)

    def _take_oldest(self, backlogged: Sequence[_Share], limits: PlanLimits) -> Plan:
        """The oldest rows of each job, that of the job furthest behind first, until the next one does not fit."""
        order = [(share.virtual, share.head()[0], number) for number, share in enumerate(backlogged)]
        heapify(order)
        self._clock = order[0][0]
        taken: list[int] = []
        longest = tokens = 0
        while order and len(taken) < limits.max_rows:
            virtual, key, number = order[0]
            share = backlogged[number]
            length = share.by_age[key][0]
            if taken and tokens + length > limits.token_budget:
                break
            del share.by_age[key]
            del share.by_length[bisect_left(share.by_length, (length, key))]
            share.virtual = virtual + length / share.weight
            taken.append(key)
            longest, tokens = max(longest, length), tokens + length
            if share.by_age:
                heapreplace(order, (share.virtual, share.head()[0], number))
            else:
                heappop(order)
        return self._taken(taken, longest, tokens)

    def _taken(self, keys: Sequence[int], longest: int, tokens: int) -> Plan:
        self.count -= len(keys)
        self.tokens -= tokens
        if not self.count:
            # Nobody waits, so nobody is behind: all start anew.
            self._shares.clear()
            self._clock = 0.0
        return Plan(tuple(keys), longest, tokens)

    def _forget_idle(self) -> None:
        """Drop the jobs without waiting rows that are not ahead of the others: they would start anew all the same."""
        self._shares = {
            job: share for job, share in self._shares.items() if share.by_age or share.virtual > self._clock
        }

    @staticmethod
    def _remove(window: _Window, head: int) -> list[int]:
        """Take the window's rows out of its job and return their keys without the head's."""
        share = window.share
        keys = [key for _, key in share.by_length[window.low : window.high]]
        del share.by_length[window.low : window.high]
        for key in keys:
            del share.by_age[key]
        return [key for key in keys if key != head]


@dataclass(slots=True)
class _Window:
    """The slice `by_length[low:high]` of one job that is in the micro-batch, and the job's virtual time with it."""

    share: _Share
    low: int
    high: int
    virtual: float
    shorter: bool = True  # whether the next shorter and the next longer row may still join
    longer: bool = True


def _fill(windows: list[_Window], head: int, limits: PlanLimits, spare: int) -> tuple[int, int]:
    """Widen the windows, the job furthest behind first, and return the longest and the summed tokens.

    Each job offers the row nearest to the head's length; a job without rivals all those of that length at once. A row
    that would break the budget or the bound on padding closes its side of its window: the rows beyond it are worse.
    """
    budget, max_rows, allowed = limits.token_budget, limits.max_rows, 1.0 + limits.waste
    beside = limits.beside
    longest, tokens, count = max(head, beside.longest), head + beside.tokens, 1 + beside.count
    order = [(window.virtual, number) for number, window in enumerate(windows)]
    heapify(order)
    while order and count < max_rows and longest * (count + 1) <= budget:
        number = order[0][1]
        window = windows[number]
        rows = window.share.by_length
        low, high = window.low, window.high
        shorter = rows[low - 1][0] if low and window.shorter else None
        longer = rows[high][0] if window.longer and high < len(rows) else None
        onward = longer is not None and (shorter is None or longer - head <= head - shorter)
        if onward and longer is not None:
            stretched = max(longest, longer)
            padded = stretched * (count + 1)
            if padded > budget or padded > allowed * (tokens + longer) + spare:
                window.longer = False
                continue
            longest, length = stretched, longer
            alike = bisect_left(rows, (longer + 1,), high) - high
        elif shorter is not None:
            if longest * (count + 1) > allowed * (tokens + shorter) + spare:
                window.shorter = False
                continue
            length = shorter
            alike = low - bisect_left(rows, (shorter,), 0, low)
        else:
            heappop(order)
            continue
        joining = 1
        if len(order) == 1:
            joining = min(alike, max_rows - count, budget // longest - count)
            if (padding := longest - allowed * length) > 0:
                joining = min(joining, int((allowed * tokens + spare - longest * count) / padding - 1e-9))
            joining = max(1, joining)  # the first was found to fit
        if onward:
            window.high += joining
        else:
            window.low -= joining
        count += joining
        tokens += joining * length
        window.virtual += joining * length / window.share.weight
        heapreplace(order, (window.virtual, number))
    return longest, tokens - beside.tokens


def plan(waiting: WaitingRows, limits: PlanLimits, now: float) -> Plan | Wait | None:
    """Take the next micro-batch out of the waiting rows, or say until when to wait; None when no row waits.

    A budget's worth of rows goes at once. Fewer wait until the first of them has waited for `limits.wait` seconds.
    A row that does not fit beside those on the device waits until they have ended, and all others behind it.
    """
    if not waiting.count:
        return None
    if waiting.count < limits.max_rows and waiting.tokens < limits.token_budget:
        until = waiting.oldest_arrival() + limits.wait
        if now < until:
            return Wait(until)
    if limits.beside.count and not _fits(waiting.head_tokens(), limits):
        return Wait(inf)
    return waiting.take(limits)


def _fits(length: int, limits: PlanLimits) -> bool:
    count = limits.beside.count + 1
    return count <= limits.max_rows and max(length, limits.beside.longest) * count <= limits.token_budget
