"""Which of a worker's models stay loaded: decides whether another one is loaded, who goes for it, and who must wait.

Least recently used goes first. A model that was loaded stays for some multiple of the time that its load took while it
is used, so that models which do not fit together take long turns instead of a load a batch. When that time is over and
another model is wanted, no more batches begin with it, so the wanted one's turn comes, however many there are. Pure: no
clock, thread or device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LEAST_STAY = 5.0
"""Seconds that a model stays at least while it is used."""

STAY = 4.0
"""Times what its load took that it stays: so loading takes no more than a fifth of the time."""

LINGER = 0.5
"""Seconds without a batch after which a model is no longer in use, if its load took no longer: idling for as long as a
load takes costs no more than one load too many."""


@dataclass(frozen=True, slots=True)
class Resident:
    """A loaded model: its memory in bytes, its times in seconds by one clock, and whether any batch is under way."""

    model: int
    size: int
    loaded_at: float
    load_seconds: float
    last_used: float
    in_use: bool

    @property
    def stays_until(self) -> float:
        """Until when it cannot be made to go."""
        turn = self.loaded_at + max(LEAST_STAY, STAY * self.load_seconds)
        return turn if self.in_use else min(turn, self.last_used + max(LINGER, self.load_seconds))


@dataclass(frozen=True, slots=True)
class Load:
    """It fits."""


@dataclass(frozen=True, slots=True)
class PutAway:
    """These are idle and go; then it is to be measured anew whether the wanted one fits."""

    models: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Until that time (None: until a batch ends). No batch may begin with the models that are `leaving`."""

    until: float | None
    leaving: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Refuse:
    """It does not fit although nothing else is loaded."""


Step = Load | PutAway | Wait | Refuse


def decide(need: int, room: int, residents: Sequence[Resident], now: float, *, all_wait: bool = False) -> Step:
    """What to do for a model that needs so many bytes where there is room for so many beside the residents.

    `all_wait`: every thread waits for some model that is not there, so no batch can come for one that is idle.
    """
    if need <= room:
        return Load()
    if not residents:
        return Refuse()
    free = [one for one in residents if one.stays_until <= now or (all_wait and not one.in_use)]
    chosen = _enough(free, need - room)
    if chosen is None:
        if len(free) < len(residents):
            return Wait(min(one.stays_until for one in residents if one not in free))
        chosen = free  # sizes are estimates: perhaps it fits once all are gone
    models = tuple(one.model for one in chosen)
    if any(one.in_use for one in chosen):
        return Wait(None, frozenset(models))
    return PutAway(models)


def _enough(free: Sequence[Resident], lacking: int) -> list[Resident] | None:
    """Those that make so many bytes free: idle ones first, least recently used first; None if all together do not.

    Of the ones in use the first is who came first, which does not change from batch to batch: else it could be another
    one each time, and none would ever be done.
    """
    order = sorted(free, key=lambda one: (one.in_use, one.loaded_at if one.in_use else one.last_used))
    chosen: list[Resident] = []
    given = 0
    for one in order:
        if given >= lacking:
            break
        chosen.append(one)
        given += one.size
    if given < lacking:
        return None
    for one in reversed(chosen[:-1]):  # what is not needed for it stays
        if given - one.size >= lacking:
            chosen.remove(one)
            given -= one.size
    return chosen
