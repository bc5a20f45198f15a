"""What the planner is told and what it answers: limits in, a micro-batch or a time to wait for out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Beside:
    """Rows that are being decoded, which the next ones join: how many, their longest and their summed tokens."""

    count: int = 0
    longest: int = 0
    tokens: int = 0


ALONE = Beside()


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """What a micro-batch may be. `token_budget` bounds longest x count and `max_rows` the count.

    `wait` is how long, in seconds, the first waiting row may wait for company. Padding may be `waste` times the real
    tokens, and `launch_tokens` more where a micro-batch is saved by it: what one costs, in tokens, however small.
    Rows that are on the device already, `beside` the new ones, count towards all bounds. Without `pads`,
    `token_budget` bounds the sum of tokens.
    """

    token_budget: int
    max_rows: int
    wait: float
    waste: float = 0.25
    launch_tokens: int = 0
    pads: bool = True
    beside: Beside = ALONE


@dataclass(frozen=True, slots=True)
class Plan:
    """The next micro-batch: the rows' keys, head first, their longest and their summed tokens."""

    keys: tuple[int, ...]
    longest: int
    tokens: int

    @property
    def padded(self) -> int:
        """What the device computes: longest x count."""
        return self.longest * len(self.keys)


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is worth computing before the time `until`, unless more rows arrive."""

    until: float
