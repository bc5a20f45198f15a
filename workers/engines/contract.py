"""What an engine must do. The batcher and the runner know engines only through this file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from schemas.items import Item
from schemas.outcomes import Failed, Outcome
from schemas.registry import ModelEntry


@dataclass(frozen=True, slots=True)
class Prepared:
    """A row that is ready for the device. `tokens` is its length before padding (for graphs: atoms).

    `sample` tells apart the samples of one row; `data` is the engine's own. A row's outcome must depend on this
    value alone, never on the rows that share its micro-batch.
    """

    row: int
    tokens: int
    data: Any
    sample: int = 0


class Engine(Protocol):
    """A loaded model on one device.

    `prepare` is called from many threads at once, beside the model thread; it must not touch the device.
    `run` is called by the one model thread only.
    """

    entry: ModelEntry

    def prepare(self, item: Item, parameters: dict[str, Any]) -> Sequence[Prepared | Failed]:
        """Turn an item into what the device needs: one unit, or one a sample for generators.

        Never raises for bad content: that is a `Failed` value with its reason. Parameters are the job's, merged
        over the registry's defaults.
        """
        ...

    def run(self, rows: Sequence[Prepared]) -> Sequence[Outcome]:
        """Compute one micro-batch: exactly one outcome for each row, in order.

        Raises:
            torch.OutOfMemoryError, RuntimeError: the micro-batch did not fit or the device erred; the batcher
            halves it and tries again.
        """
        ...


class Loader(Protocol):
    """Each engine file offers `load(entry, device)`, which imports torch only when called."""

    def __call__(self, entry: ModelEntry, device: str) -> Engine:
        """Load the model.

        Raises:
            ModelUnavailable: the weights are missing, changed, or of a form that is refused.
        """
        ...
