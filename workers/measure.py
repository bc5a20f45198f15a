"""Runs rows through a loaded model as a worker does, without servers, and says how fast that is in the steady state.

The rows go round and round: the first time while the sizes of micro-batches are learnt, the second time is measured,
and further ones keep the pipeline full until then. So neither its filling nor its draining counts.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import RowError
from schemas.items import Item, Molecule, Paper, Prompt
from schemas.ledger.cuts import slices
from schemas.outcomes import Failed, Outcome
from schemas.registry import Limits
from workers.batcher import Batcher
from workers.counts import BatcherStats
from workers.workshop import Workshop

TURNS = 2
"""A slot takes at least so many batches a round, so that one round is a fair picture of those before and after it."""

Progress = Callable[[str, int, int], None]
"""Takes what is being done, the rows that are done, and of how many."""


@dataclass(slots=True)
class Round:
    """What the measured round brought. `rows` ended within its `seconds`, those of the neighbouring rounds too.

    `succeeded` and `failures` count the round's own rows, each once; `reasons` has the first of each code.
    """

    seconds: float = 0.0
    rows: int = 0
    stats: BatcherStats = field(default_factory=BatcherStats)
    succeeded: int = 0
    failures: Counter[RowError] = field(default_factory=Counter)
    reasons: dict[RowError, str] = field(default_factory=dict)

    def count(self, outcomes: Sequence[Outcome]) -> None:
        """Add a batch's outcomes."""
        for outcome in outcomes:
            if isinstance(outcome, Failed):
                self.failures[outcome.code] += 1
                self.reasons.setdefault(outcome.code, outcome.message)
            else:
                self.succeeded += 1


def cut(items: Sequence[Item], limits: Limits, slots: int) -> list[Sequence[Item]]:
    """Batches as a job's, but small enough that each slot has a few of them."""
    rows = max(1, min(limits.batch_rows, len(items) // (slots * TURNS)))
    sizes = [(at, _characters(item)) for at, item in enumerate(items)]
    return [[items[at] for at in part] for part, _ in slices(sizes, rows, limits.batch_size)]


class Measurement:
    """Call `run` once."""

    def __init__(
        self,
        batcher: Batcher,
        workshop: Workshop,
        batches: Sequence[Sequence[Item]],
        parameters: dict[str, Any],
        samples: int,
        on_progress: Progress,
    ) -> None:
        """At least one batch is needed."""
        self._batcher = batcher
        self._workshop = workshop
        self._batches = batches
        self._parameters = parameters
        self._samples = samples
        self._on_progress = on_progress
        self._rows = samples * sum(map(len, batches))
        self._lock = threading.Lock()  # guards everything below
        self._next = 0  # batches taken so far, over all rounds
        self._left = [len(batches)] * 2  # batches that are not done, of the first round and of the second
        self._done = self._batches_done = 0  # over all rounds; the former in rows
        self._began = 0.0  # when the measured time did, and how things stood then
        self._before = BatcherStats()
        self._rows_before = self._batches_before = 0
        self._round = Round()
        self._fault: BaseException | None = None

    def run(self, slots: int) -> Round:
        """Work on as many batches at a time as there are slots.

        Raises:
            UsageError: a parameter is unknown or out of its range.
            Stopped: the device or the preparing processes gave up.
        """
        threads = [threading.Thread(target=self._slot, daemon=True) for _ in range(slots)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._fault is not None:
            raise self._fault
        return self._round

    def _slot(self) -> None:
        while (number := self._take()) is not None:
            try:
                batch = self._batches[number % len(self._batches)]
                due = self._workshop.due(len(batch) * self._samples)
                units, failed = self._workshop.prepare(batch, self._parameters, self._samples, due)
                computed = self._batcher.submit(units, job=1).result()
                outcomes = [*failed, *self._workshop.finish(computed, due)]
            except BaseException as fault:
                with self._lock:
                    self._fault = self._fault or fault
                return
            with self._lock:
                self._record(number // len(self._batches), outcomes)

    def _take(self) -> int | None:
        """The next batch, by its number over all rounds; None once all is measured."""
        with self._lock:
            if self._fault is not None or self._round.seconds:
                return None
            self._next += 1
            return self._next - 1

    def _record(self, turn: int, outcomes: Sequence[Outcome]) -> None:
        if self._round.seconds:
            return  # the measured time is over
        self._done += len(outcomes)
        self._batches_done += 1
        if turn == 1:
            self._round.count(outcomes)
        if turn < len(self._left):
            self._left[turn] -= 1
        self._on_progress("measuring" if self._began else "learning", min(self._done, 2 * self._rows), 2 * self._rows)
        if not self._began:
            if not self._left[0]:
                self._began, self._before = time.monotonic(), self._batcher.stats()
                self._rows_before, self._batches_before = self._done, self._batches_done
        elif not self._left[1] and self._batches_done - self._batches_before >= len(self._batches):
            self._round.seconds = time.monotonic() - self._began
            self._round.stats = self._batcher.stats().since(self._before)
            self._round.rows = self._done - self._rows_before


def _characters(item: Item) -> int:
    match item.content:
        case Molecule(smiles) | Prompt(smiles):
            return len(smiles)
        case Paper(sections=sections):
            return sum(len(paragraph) for section in sections for paragraph in section.paragraphs)
        case _:
            return 0
