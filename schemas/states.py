"""The states of a batch and of a job, and which may follow which. The ledger's tests hold every change to this."""

from __future__ import annotations

from enum import StrEnum

TALLY_SHARDS = 8  # rows that a job's counts are spread over, so that completions do not wait for each other


class BatchState(StrEnum):
    """Where a batch stands. `queued` means: a message with its fence was, or is about to be, published."""

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SPLIT = "split"


ALLOWED: dict[BatchState, frozenset[BatchState]] = {
    BatchState.PENDING: frozenset(
        {BatchState.QUEUED, BatchState.CANCELLED, BatchState.SPLIT, BatchState.FAILED},
    ),
    BatchState.QUEUED: frozenset({BatchState.PENDING, BatchState.RUNNING, BatchState.CANCELLED}),
    BatchState.RUNNING: frozenset({BatchState.PENDING, BatchState.DONE, BatchState.CANCELLED}),
    BatchState.DONE: frozenset(),
    BatchState.FAILED: frozenset(),
    BatchState.CANCELLED: frozenset(),
    BatchState.SPLIT: frozenset(),
}


class JobState(StrEnum):
    """Where a job stands. `done` may become `running` again, by a retry of its failures or for more rows."""

    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


class Priority(StrEnum):
    """A job's share of the workers, as against other jobs of its task. No job is ever starved."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"

    @property
    def weight(self) -> float:
        """Relative share: a job of weight 4 gets four times the work done of one of weight 1."""
        return {Priority.LOW: 1.0, Priority.NORMAL: 4.0, Priority.HIGH: 16.0}[self]
