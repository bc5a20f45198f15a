"""What a batcher has done so far, as numbers that a log line, a heartbeat or a benchmark can read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from operator import add, sub
from typing import Any

from schemas.errors import RowError
from workers.tickets import TicketRow

MOMENTARY = ("waiting_rows", "ceiling", "running_since")
"""What holds at a moment only, and does not add up."""


@dataclass(frozen=True, slots=True)
class BatcherStats:
    """A snapshot. Counts and sums since the start; times and seconds by the batcher's clock.

    `micro_batches` counts the engine's calls, retries included (of a decoding, the times that rows joined it);
    `blended` those with rows of several tickets; `oom_splits` and `fault_splits` those that failed and were halved.
    `rows` have their outcome, `failed_rows` of them failed alone. `queued_seconds` sums each row's wait for the
    device. `filled` of `room` was used: of a micro-batch its padded tokens, of those that it might have had; of a
    decoding its rows, of the places there were, summed over its steps. `ceiling` is the present bound on padded tokens,
    and `running_since` the start of the call that the engine is in, if it is in one.
    """

    micro_batches: int = 0
    blended: int = 0
    rows: int = 0
    failed_rows: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    busy_seconds: float = 0.0
    queued_seconds: float = 0.0
    filled: int = 0
    room: int = 0
    oom_splits: int = 0
    fault_splits: int = 0
    waiting_rows: int = 0
    ceiling: int = 0
    running_since: float | None = None

    @property
    def padding_waste(self) -> float:
        """The share of the padded tokens that were padding, 0 to 1."""
        return 1 - self.tokens / self.padded_tokens if self.padded_tokens else 0.0

    @property
    def fill(self) -> float:
        """The share of the room on the device that was used while it computed, 0 to 1."""
        return self.filled / self.room if self.room else 0.0

    @property
    def queue_delay(self) -> float:
        """Seconds that a row waited for the device, on average."""
        return self.queued_seconds / self.rows if self.rows else 0.0

    @property
    def row_seconds(self) -> float | None:
        """Seconds of the device that an outcome took, on average; None before there is one."""
        return self.busy_seconds / self.rows if self.rows else None

    def since(self, earlier: BatcherStats) -> BatcherStats:
        """What was done after an earlier snapshot; what holds at a moment only stays as it is in this one."""
        return self._with(earlier, sub)

    def plus(self, earlier: BatcherStats) -> BatcherStats:
        """What was done in all with another batcher before; what holds at a moment only stays as it is in this one."""
        return self._with(earlier, add)

    def _with(self, earlier: BatcherStats, combined: Callable[[Any, Any], Any]) -> BatcherStats:
        names = [field.name for field in fields(self) if field.name not in MOMENTARY]
        return replace(self, **{name: combined(getattr(self, name), getattr(earlier, name)) for name in names})

    def line(self, seconds: float) -> str:
        """The numbers as one line for a log, of work that was done within so many seconds."""
        parts = [
            f"{self.rows:,} rows in {seconds:.0f} s",
            f"{self.failed_rows:,} failed",
            f"{self.tokens:,} tokens",
            f"padding {self.padding_waste:.1%}",
            f"fill {self.fill:.0%}",
            f"queued {self.queue_delay:.3g} s a row",
            f"device busy {min(1.0, self.busy_seconds / max(seconds, 1e-9)):.0%}",
        ]
        splits = self.oom_splits + self.fault_splits
        return ", ".join([*parts, f"{splits} micro-batches halved"] if splits else parts)

    def after(
        self, part: Sequence[TicketRow], padded: int, room: int, seconds: float, code: RowError | None
    ) -> BatcherStats:
        """The numbers after one call of the engine, which went wrong with that code, or well."""
        split = code is not None and len(part) > 1
        return replace(
            self,
            micro_batches=self.micro_batches + 1,
            blended=self.blended + any(row.ticket is not part[0].ticket for row in part),
            rows=self.rows + (0 if split else len(part)),
            failed_rows=self.failed_rows + (code is not None and not split),
            tokens=self.tokens + sum(row.unit.tokens for row in part),
            padded_tokens=self.padded_tokens + padded,
            busy_seconds=self.busy_seconds + seconds,
            filled=self.filled + padded,
            room=self.room + max(padded, room),
            oom_splits=self.oom_splits + (split and code is RowError.OUT_OF_MEMORY),
            fault_splits=self.fault_splits + (split and code is not RowError.OUT_OF_MEMORY),
            running_since=None,
        )

    def stepped(
        self, ended: int, joined: Sequence[TicketRow], running: int, places: int, seconds: float
    ) -> BatcherStats:
        """The numbers after a step of a decoding.

        So many rows ended by it, and these had joined before it; so many ran, of those that there were places for.
        """
        tokens = sum(row.unit.tokens for row in joined)
        return replace(
            self,
            micro_batches=self.micro_batches + bool(joined),
            blended=self.blended + any(row.ticket is not joined[0].ticket for row in joined),
            rows=self.rows + ended,
            tokens=self.tokens + tokens,
            padded_tokens=self.padded_tokens + tokens,
            busy_seconds=self.busy_seconds + seconds,
            filled=self.filled + running,
            room=self.room + max(running, places),
        )
