"""How long each step of a batch took, and how it ended. Measured a batch, never a row; here alone it becomes text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum


class Step(StrEnum):
    """The steps in the order of a batch's way. `MODEL` is its wait until the model is there, `LOAD` the model's own."""

    CLAIM = "claim"
    MODEL = "model"
    LOAD = "load"
    PREPARE = "prepare"
    COMPUTE = "compute"  # from the batcher's queue to the last row's outcome
    FINISH = "finish"
    COMPLETE = "complete"


@dataclass(slots=True)
class Span:
    """One step: when it began, and how many seconds it took (None: it is under way). `fault` names its exception."""

    step: Step
    began: float
    seconds: float | None = None
    fault: str | None = None


class Spans:
    """The spans of one batch in their order, measured by its thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spans: list[Span] = []

    def __iter__(self) -> Iterator[Span]:
        return iter(self._spans)

    def __str__(self) -> str:
        return ", ".join(_told(span) for span in self._spans)

    @contextmanager
    def measure(self, step: Step) -> Iterator[None]:
        """A span over the block. What is raised there passes through."""
        span = Span(step, self._clock())
        self._spans.append(span)
        try:
            yield
        except BaseException as fault:
            span.fault = type(fault).__name__
            raise
        finally:
            span.seconds = self._clock() - span.began


@dataclass(frozen=True, slots=True)
class StepTotals:
    """All spans of one step: how many, how many of them ended by an exception, and their seconds."""

    count: int = 0
    faults: int = 0
    seconds: float = 0.0

    def after(self, span: Span) -> StepTotals:
        """The totals with one more span that has ended."""
        return StepTotals(self.count + 1, self.faults + (span.fault is not None), self.seconds + (span.seconds or 0.0))

    def since(self, earlier: StepTotals) -> StepTotals:
        """What came after an earlier state of the totals."""
        return StepTotals(self.count - earlier.count, self.faults - earlier.faults, self.seconds - earlier.seconds)


def totals_line(steps: Mapping[Step, StepTotals]) -> str:
    """The totals of all steps that there were, in a batch's order, as a part of a log line."""
    return ", ".join(
        f"{step} {totals.count:,}x {_seconds(totals.seconds)}" + (f" ({totals.faults} failed)" if totals.faults else "")
        for step in Step
        if (totals := steps.get(step)) and totals.count
    )


def _told(span: Span) -> str:
    took = "..." if span.seconds is None else _seconds(span.seconds)
    return f"{span.step} {took}" + (f" ({span.fault})" if span.fault else "")


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
