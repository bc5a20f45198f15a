"""The engine of `predict`: chemprop ensembles and RDKit descriptors over standardized molecules, with spread and rank.

Importing this file imports torch and chemprop, which takes seconds: only `workers.engines.load` does so, once the
process is pinned to its device. The files are laid out as ADMET-AI ships them: `models/<ensemble>/*.pt`, and
`data/drugbank_approved.csv` as the reference set of approved drugs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from schemas.errors import ModelUnavailable
from schemas.outcomes import Prediction
from schemas.registry import ModelEntry
from workers.engines.chemprop_cpu import Featurized, MoleculeWork
from workers.engines.chemprop_ensemble import Ensemble, load_ensemble, wire
from workers.engines.chemprop_reference import Reference
from workers.engines.contract import Prepared
from workers.molecules import DESCRIPTORS
from workers.weights import locate

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Of the messages between atoms; what is made of them is computed in fp32 always."""

REFERENCE = "data/drugbank_approved.csv"


class ChempropEngine:
    """All ensembles of one model on one device. Values are float32, whatever the device."""

    pads = False  # graphs lie side by side

    def __init__(
        self, entry: ModelEntry, device: str, ensembles: Sequence[Ensemble], reference: Reference | None
    ) -> None:
        """Endpoints are given in the registry's order, which need not be that of the ensembles."""
        self.entry = entry
        self.cpu = MoleculeWork(entry)
        self._device = device
        self._ensembles = ensembles
        self._rounds = {ensemble.rounds for ensemble in ensembles}
        self._reference = reference
        computed = _computed(ensembles)
        self._order = [computed.index((endpoint.name, endpoint.kind)) for endpoint in entry.endpoints]

    @torch.inference_mode()
    def run(self, rows: Sequence[Prepared]) -> Sequence[Prediction]:
        """Predict a micro-batch. A value that is not finite becomes None."""
        molecules: list[Featurized] = [row.data for row in rows]
        graphs = [molecule.graph for molecule in molecules]
        wirings = {rounds: wire(graphs, rounds, self._device) for rounds in self._rounds}
        predicted = [ensemble(wirings[ensemble.rounds]) for ensemble in self._ensembles]
        descriptors = np.array([molecule.descriptors for molecule in molecules])
        mean = torch.cat([mean for mean, _ in predicted], dim=1).cpu().numpy().astype(np.float64)
        spread = torch.cat([spread for _, spread in predicted], dim=1).cpu().numpy().astype(np.float64)
        values = np.hstack([mean, descriptors])[:, self._order]
        spreads = np.hstack([spread, np.full_like(descriptors, np.nan)])[:, self._order]
        ranks = np.full_like(values, np.nan) if self._reference is None else self._reference.percentiles(values)
        return [
            Prediction(
                row.row, molecule.smiles, molecule.inchikey, _finite(values[i]), _finite(spreads[i]), _finite(ranks[i])
            )
            for i, (row, molecule) in enumerate(zip(rows, molecules, strict=True))
        ]


def load(entry: ModelEntry, device: str) -> ChempropEngine:
    """Load a model's ensembles from its pinned package, after comparing every file with the registry.

    Raises:
        ModelUnavailable: the weights are missing, changed or of a form that is refused, or do not predict the
            endpoints that the registry names.
    """
    if entry.weights.package is None:
        raise ModelUnavailable(
            f"model '{entry.name}': chemprop files can run code when they are loaded, so they are taken only from a "
            "package that the registry pins by version and sha256"
        )
    if entry.precision not in PRECISIONS:
        known = " or ".join(PRECISIONS)
        raise ModelUnavailable(f"model '{entry.name}': the chemprop engine computes in {known}, not {entry.precision}")
    folder = locate(entry.weights)
    files = sorted(folder / name for name in entry.weights.sha256 if name.endswith(".pt"))
    found = sorted(folder.glob("models/*/*.pt"))
    if not files or files != found:
        raise ModelUnavailable(f"model '{entry.name}': the registry pins {len(files)} .pt files, found {len(found)}")
    ensembles = [
        load_ensemble([file for file in files if file.parent == parent], device, PRECISIONS[entry.precision])
        for parent in sorted({file.parent for file in files})
    ]
    named = sorted((endpoint.name, endpoint.kind) for endpoint in entry.endpoints)
    if named != sorted(_computed(ensembles)):
        difference = set(named) ^ set(_computed(ensembles))
        raise ModelUnavailable(f"model '{entry.name}': the registry's endpoints differ from the model's: {difference}")
    names = [endpoint.name for endpoint in entry.endpoints]
    reference = Reference(folder / REFERENCE, names) if REFERENCE in entry.weights.sha256 else None
    return ChempropEngine(entry, device, ensembles, reference)


def _computed(ensembles: Sequence[Ensemble]) -> list[tuple[str, str]]:
    """Name and kind of each column, in the order in which `run` computes them."""
    columns = [
        (name, "probability" if ensemble.probabilities else "regression")
        for ensemble in ensembles
        for name in ensemble.endpoints
    ]
    return columns + [(name, "descriptor") for name in DESCRIPTORS]


def _finite(numbers: Any) -> tuple[float | None, ...]:
    return tuple(number if math.isfinite(number) else None for number in numbers.tolist())
