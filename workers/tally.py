"""What one model has done in a worker, over all the times that it was loaded: numbers for log lines and exporters."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from workers.counts import BatcherStats
from workers.spans import Span, Step, StepTotals, totals_line


@dataclass(frozen=True, slots=True)
class ModelCounts:
    """A snapshot: `work` is that of the model's batchers together, `steps` are those of its batches and its loads.

    `held` are the bytes that the loaded model takes, 0 while it is not loaded.
    """

    model: str
    held: int
    work: BatcherStats
    steps: Mapping[Step, StepTotals]

    def since(self, earlier: ModelCounts) -> ModelCounts:
        """What came after an earlier snapshot."""
        steps = {step: totals.since(earlier.steps.get(step, StepTotals())) for step, totals in self.steps.items()}
        return ModelCounts(self.model, self.held, self.work.since(earlier.work), steps)

    @property
    def idle(self) -> bool:
        """Whether nothing was done."""
        return not self.work.rows and not any(totals.count for totals in self.steps.values())

    def line(self, seconds: float) -> str:
        """The numbers as one line for a log, of work that was done within so many seconds."""
        return f"{self.model}: {self.work.line(seconds)}; {totals_line(self.steps)}"


class Tally:
    """Adds up one model's numbers. All methods may be called from any thread."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._ended = BatcherStats()
        self._steps: dict[Step, StepTotals] = {}

    def add(self, spans: Iterable[Span]) -> None:
        """Count the steps of a batch, or the load."""
        with self._lock:
            for span in spans:
                self._steps[span.step] = self._steps.get(span.step, StepTotals()).after(span)

    def end(self, stats: BatcherStats) -> None:
        """Keep the numbers of a batcher that has stopped."""
        with self._lock:
            self._ended = stats.plus(self._ended)

    def counts(self, present: BatcherStats | None = None, held: int = 0) -> ModelCounts:
        """All there was so far, with the numbers of the present batcher if there is one, and the bytes it takes."""
        with self._lock:
            work = self._ended if present is None else present.plus(self._ended)
            return ModelCounts(self._model, held, work, dict(self._steps))
