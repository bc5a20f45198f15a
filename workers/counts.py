"""What a batcher has done so far, as numbers that a log line, a heartbeat or a benchmark can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from schemas.errors import RowError
from workers.tickets import TicketRow


@dataclass(frozen=True, slots=True)
class BatcherStats:
    """A snapshot. Counts and sums since the start; times and seconds by the batcher's clock.

    `micro_batches` counts the engine's calls, retries included (of a decoding, the times that rows joined it);
    `blended` those with rows of several tickets; `oom_splits` and `fault_splits` those that failed and were halved.
    `rows` have their outcome, `failed_rows` of them failed alone. `queued_seconds` sums each row's wait for the
    device. `ceiling` is the present bound on padded tokens, and `running_since` the start of the call that the engine
    is in, if it is in one.
    """

    micro_batches: int = 0
    blended: int = 0
    rows: int = 0
    failed_rows: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    busy_seconds: float = 0.0
    queued_seconds: float = 0.0
    oom_splits: int = 0
    fault_splits: int = 0
    waiting_rows: int = 0
    ceiling: int = 0
    running_since: float | None = None

    def after(self, part: Sequence[TicketRow], padded: int, seconds: float, code: RowError | None) -> BatcherStats:
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
            oom_splits=self.oom_splits + (split and code is RowError.OUT_OF_MEMORY),
            fault_splits=self.fault_splits + (split and code is not RowError.OUT_OF_MEMORY),
            running_since=None,
        )

    def stepped(self, ended: int, joined: Sequence[TicketRow], seconds: float) -> BatcherStats:
        """The numbers after a step of a decoding, which so many rows ended by and these had joined before."""
        tokens = sum(row.unit.tokens for row in joined)
        return replace(
            self,
            micro_batches=self.micro_batches + bool(joined),
            blended=self.blended + any(row.ticket is not joined[0].ticket for row in joined),
            rows=self.rows + ended,
            tokens=self.tokens + tokens,
            padded_tokens=self.padded_tokens + tokens,
            busy_seconds=self.busy_seconds + seconds,
        )
