"""How far a compressed model's values are from those of the model that it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import UsageError
from schemas.items import Item, Molecule
from schemas.outcomes import Prediction
from schemas.registry import ModelEntry
from workers.engines.contract import Prepared
from workers.engines.load import load_engine

_PART = 256  # rows of a micro-batch


@dataclass(frozen=True, slots=True)
class Lost:
    """Of the values of all endpoints on `rows` molecules: absolute differences, and rank correlations an endpoint.

    A correlation is None where an endpoint's values are all alike.
    """

    rows: int
    mean: float
    largest: float
    spearman: dict[str, float | None]

    @property
    def lowest(self) -> float | None:
        """The lowest rank correlation of an endpoint."""
        return min((one for one in self.spearman.values() if one is not None), default=None)


def compare(before: ModelEntry, after: ModelEntry, smiles: Sequence[str]) -> Lost:
    """Predict the molecules by both models, on the CPU; molecules that the models refuse are left out.

    Raises:
        ModelUnavailable: a model cannot be loaded.
        UsageError: fewer than two molecules can be read.
    """
    from scipy.stats import spearmanr

    theirs, ours = (said(entry, smiles)[1] for entry in (before, after))
    if len(theirs) < 2:
        raise UsageError(f"{len(theirs)} molecules that the model can read are too few to compare by")
    # The distance to the molecules learnt from is no value of the network.
    names = {at: one.name for at, one in enumerate(before.endpoints) if one.kind != "descriptor"}
    theirs, ours = theirs[:, list(names)], ours[:, list(names)]
    difference = np.abs(theirs - ours)
    ranks: dict[str, Any] = {}
    for at, name in enumerate(names.values()):
        alike = min(np.ptp(theirs[:, at]), np.ptp(ours[:, at])) == 0
        ranks[name] = None if alike else float(spearmanr(theirs[:, at], ours[:, at]).statistic)
    return Lost(len(theirs), float(difference.mean()), float(difference.max()), ranks)


def said(entry: ModelEntry, smiles: Sequence[str]) -> tuple[list[Any], NDArray[np.float64]]:
    """The molecules that a classifier's engine can read, as it reads them, and its values: (molecules, endpoints)."""
    engine = load_engine(entry, "cpu")
    units = [
        unit
        for row, text in enumerate(smiles)
        for unit in engine.cpu.prepare(Item(row, Molecule(text)), entry.parameters)
        if isinstance(unit, Prepared)
    ]
    found = [
        outcome.values
        for begin in range(0, len(units), _PART)
        for outcome in engine.run(units[begin : begin + _PART])
        if isinstance(outcome, Prediction)
    ]
    return [unit.data for unit in units], np.array(found, dtype=np.float64).reshape(-1, len(entry.endpoints))
