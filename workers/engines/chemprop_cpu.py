"""The part of `predict` that needs no device: standardized molecules, their graphs and their RDKit descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from schemas.errors import RowError
from schemas.items import Item, Molecule, Rejected
from schemas.outcomes import Failed
from schemas.registry import ModelEntry
from workers.engines.contract import Prepared
from workers.engines.molecule_graph import MoleculeGraph, featurize
from workers.molecules import PARENT, Refused, describe, read


@dataclass(frozen=True, slots=True)
class Featurized:
    """A molecule as the networks see it, with what was already computed beside them."""

    graph: MoleculeGraph
    smiles: str
    inchikey: str
    descriptors: Sequence[float]


class MoleculeWork:
    """The engine's `CpuWork`."""

    heavy = True

    def __init__(self, entry: ModelEntry) -> None:
        self._name = entry.name
        self._max_atoms = entry.limits.max_tokens

    def prepare(self, item: Item, parameters: dict[str, Any]) -> Sequence[Prepared | Failed]:
        """Standardize and featurize a molecule; `tokens` counts its atoms.

        Parameters: `standardize` ("parent" or "none") and `tautomers` (bool), see `workers.molecules.read`.

        Raises:
            UsageError: a parameter has a value that does not exist.
        """
        if isinstance(item.content, Rejected):
            return [Failed(item.row, item.content.code, item.content.message)]
        if not isinstance(item.content, Molecule):
            kind = type(item.content).__name__.lower()
            return [Failed(item.row, RowError.UNSUPPORTED, f"{self._name} predicts on molecules, not on a {kind}")]
        structure = read(
            item.content.smiles,
            standardize=parameters.get("standardize", PARENT),
            tautomers=parameters.get("tautomers", False),
            max_atoms=self._max_atoms,
        )
        if isinstance(structure, Refused):
            return [Failed(item.row, structure.code, structure.message)]
        graph = featurize(structure.mol)
        data = Featurized(graph, structure.smiles, structure.inchikey, describe(structure.mol))
        return [Prepared(item.row, tokens=len(graph.atoms), data=data)]
