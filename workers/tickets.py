"""What a submission to the batcher leaves in the submitter's hand, and how its rows find their way back to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from schemas.outcomes import Outcome
from workers.engines.contract import Prepared


class Stopped(Exception):
    """The batcher stopped before it computed all rows of the ticket. Hand the batch back."""


class DeviceLost(Stopped):
    """The process can no longer use its device: end it without handing back, so that its death counts as a crash."""


class Ticket:
    """The claim on the outcomes of one submission. Submitters use `result` and `cancel`, the batcher the rest."""

    def __init__(self, rows: Sequence[Prepared], job: int, submitted: float, close: Callable[[Ticket], None]) -> None:
        self.rows = rows
        self.job = job
        self.submitted = submitted
        self.keys = range(0)  # the planner's, one a row
        self.begun = False
        self.closed = not rows  # nobody waits for more: all outcomes are there, or it was cancelled or released
        self._outcomes: list[Outcome | None] = [None] * len(rows)
        self._missing = len(rows)
        self._future: Future[list[Outcome]] = Future()
        self._close = close
        if not rows:
            self._future.set_result([])

    def result(self, timeout: float | None = None) -> list[Outcome]:
        """Wait for the outcomes, one for each row in the order they were submitted.

        Raises:
            TimeoutError: not all are there after `timeout` seconds.
            Stopped: the batcher stopped first.
            concurrent.futures.CancelledError: the ticket was cancelled.
        """
        return self._future.result(timeout)

    def cancel(self) -> None:
        """Give up the outcomes: rows that are not on the device are dropped, those that are come to nothing."""
        self._close(self)

    def release(self, fault: Exception | None) -> None:
        """End the wait with a fault, or as cancelled when there is none."""
        self.closed = True
        if fault is None:
            self._future.cancel()
        else:
            self._future.set_exception(fault)

    def deliver(self, place: int, outcome: Outcome) -> bool:
        """Take in one row's outcome, and say whether it was the last. A closed ticket takes none."""
        if self.closed:
            return False
        self._outcomes[place] = outcome
        self._missing -= 1
        if self._missing:
            return False
        self.closed = True
        self._future.set_result([outcome for outcome in self._outcomes if outcome is not None])
        return True


@dataclass(slots=True)
class TicketRow:
    """One row of a micro-batch: what the engine gets, and where its outcome goes. Not frozen: one is made a row."""

    ticket: Ticket
    place: int
    unit: Prepared
