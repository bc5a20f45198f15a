"""What an engine must do. The batcher and the runner know engines only through this file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from schemas.items import Item
from schemas.outcomes import Failed, Outcome
from schemas.registry import ModelEntry


@dataclass(slots=True)
class Prepared:
    """A row that is ready for the device. `tokens` is its length before padding (for graphs: atoms).

    `sample` tells apart the samples of one row; `data` is the engine's own. A row's outcome must depend on this
    value alone, never on the rows that share its micro-batch.
    """

    row: int
    tokens: int
    data: Any
    sample: int = 0


class WrongOutcomes(Exception):
    """The engine broke its contract: its outcomes are not those of the rows it was given, in their order."""


class CpuWork(Protocol):
    """What an engine does for a row without its device, before the device computes.

    It can be pickled, knows no torch, and is called from many threads or processes at once.
    """

    heavy: bool
    """Whether it holds the interpreter for long (RDKit, plain Python): then it runs in processes beside the worker."""

    def prepare(self, item: Item, parameters: dict[str, Any]) -> Sequence[Prepared | Failed]:
        """Turn an item into what the device needs: one unit, or one a sample for generators.

        Never raises for bad content: that is a `Failed` value with its reason. Parameters are the job's, merged
        over the registry's defaults.

        Raises:
            UsageError: a parameter is unknown or out of its range; all of the job's rows would share it.
        """
        ...


@runtime_checkable
class FinishingWork(CpuWork, Protocol):
    """Work that is not done with the device's outcome."""

    def finish(self, outcome: Outcome) -> Outcome:
        """Complete an outcome of `run` by what needs no device, such as a generated molecule's properties."""
        ...


class Engine(Protocol):
    """A loaded model on one device. `run` is called by the one model thread only."""

    entry: ModelEntry
    cpu: CpuWork

    pads: bool
    """Whether rows are filled up to the longest beside them: then rows of similar length go together."""

    def run(self, rows: Sequence[Prepared]) -> Sequence[Outcome]:
        """Compute one micro-batch: exactly one outcome for each row, in order, which a `FinishingWork` completes.

        Raises:
            torch.OutOfMemoryError, RuntimeError: the micro-batch did not fit or the device erred; the batcher
            halves it and tries again.
        """
        ...


class Decoding(Protocol):
    """Rows that are decoded together, a step at a time: a row leaves when it ends, and others join the running rest.

    Called by the one model thread only. After an exception it is dropped, and its rows go through `Engine.run`.
    """

    def admit(self, rows: Sequence[Prepared]) -> None:
        """Let rows join: encode their inputs, so that the next step decodes them too."""
        ...

    def step(self) -> Sequence[tuple[Prepared, Outcome]]:
        """Decode one token for every row, or a few; the rows that ended by it, each with its outcome."""
        ...


@runtime_checkable
class ContinuousEngine(Engine, Protocol):
    """An engine whose rows take very different numbers of steps, so that fixed micro-batches would idle the device.

    `run` stays the way of rows that failed together: it decodes them to their ends without others.
    """

    def decode(self) -> Decoding:
        """An empty decoding, which rows are admitted to."""
        ...


class Loader(Protocol):
    """Each engine file offers `load(entry, device)`, which imports torch only when called."""

    def __call__(self, entry: ModelEntry, device: str) -> Engine:
        """Load the model.

        Raises:
            ModelUnavailable: the weights are missing, changed, or of a form that is refused.
        """
        ...


def check_outcomes(units: Sequence[Prepared], outcomes: Sequence[Outcome]) -> None:
    """Raise WrongOutcomes unless each outcome is its unit's own: a mix-up would be worse than a failure."""
    if len(outcomes) != len(units):
        raise WrongOutcomes(f"{len(outcomes)} outcomes for {len(units)} rows")
    for unit, outcome in zip(units, outcomes, strict=True):
        if outcome.row != unit.row or outcome.sample != unit.sample:
            raise WrongOutcomes(f"an outcome of row {outcome.row} in the place of row {unit.row}")
