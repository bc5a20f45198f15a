from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from rdkit import Chem

from producer.demo_corpora import approved_drugs
from workers.engines.environments import Sums, _distinct, join
from workers.engines.molecule_graph import MoleculeGraph, featurize

ODD = ["C", "[Na+].[Cl-]", "CC", "c1ccccc1", "F[P-](F)(F)(F)(F)F", "FS(F)(F)(F)(F)F", "C12C3C4C1C5C2C3C45"]


def graphs(count: int) -> list[MoleculeGraph]:
    drugs = [record.content.smiles for record in islice(approved_drugs(), count)]  # type: ignore[union-attr]
    molecules = [Chem.MolFromSmiles(smiles) for smiles in [*ODD, *drugs]]
    return [featurize(mol) for mol in molecules if mol is not None]


def summed(sums: Sums, table: np.ndarray) -> np.ndarray:
    ends = [*sums.start[1:], len(sums.rows)]
    return np.array([table[sums.rows[begin:end]].sum(axis=0) for begin, end in zip(sums.start, ends, strict=True)])


def through_environments(batch: list[MoleculeGraph], rounds: int, weights: np.ndarray) -> np.ndarray:
    """A small message-passing network in integers, where equal is equal."""
    found = join(batch, rounds)
    first = np.round(found.bonds * 100).astype(np.int64) @ weights
    messages = np.abs(first)
    for receive in found.rounds:
        messages = np.abs(summed(receive, np.concatenate([first, messages * 3]))) % 10_007
    atoms = (np.round(found.atoms * 100).astype(np.int64) @ weights[:72])[found.atom]
    atoms = (atoms + summed(found.into_atom, messages)) % 10_007 if len(messages) else atoms % 10_007
    return summed(found.into_molecule, atoms)


def bond_by_bond(graph: MoleculeGraph, rounds: int, weights: np.ndarray) -> np.ndarray:
    """The same for one molecule, as its definition says."""
    found = join([graph], 0)
    kinds = dict(zip(np.unique(graph.atoms), found.atoms, strict=True))
    own = np.array([np.round(kinds[kind] * 100).astype(np.int64) @ weights[:72] for kind in graph.atoms])
    codes = np.stack([graph.atoms[graph.source], graph.bonds], axis=1)
    distinct, which = np.unique(codes, axis=0, return_inverse=True)
    first = (np.round(found.bonds * 100).astype(np.int64) @ weights)[which.ravel()] if len(distinct) else None
    if first is None:
        return (own % 10_007).sum(axis=0)
    messages = np.abs(first)
    for _ in range(rounds):
        heard = [
            sum(messages[k] * 3 for k in np.flatnonzero(graph.target == graph.source[e]) if k != e ^ 1)
            for e in range(len(first))
        ]
        messages = np.array([np.abs(first[e] + heard[e]) % 10_007 for e in range(len(first))])
    incoming = np.array([messages[graph.target == atom].sum(axis=0) for atom in range(len(own))])
    return ((own + incoming) % 10_007).sum(axis=0)


@pytest.mark.parametrize("rounds", [0, 1, 2, 4])
def test_a_batch_gives_what_each_bond_by_itself_gives(rounds: int) -> None:
    batch = graphs(40)
    weights = np.random.default_rng(7).integers(-9, 9, (86, 5))
    together = through_environments(batch, rounds, weights)
    for graph, found in zip(batch, together, strict=True):
        np.testing.assert_array_equal(found, bond_by_bond(graph, rounds, weights))


def test_alike_environments_are_computed_once() -> None:
    benzene = featurize(Chem.MolFromSmiles("c1ccccc1"))
    found = join([benzene] * 10, 2)
    assert len(found.bonds) == len(found.rounds[1].start) == len(found.atom) == 1
    assert len(found.into_molecule.rows) == 60

    drugs = graphs(64)
    found = join(drugs, 2)
    bonds = sum(len(graph.bonds) for graph in drugs)
    assert len(found.bonds) < 0.06 * bonds
    assert len(found.rounds[0].start) < 0.3 * bonds


def test_rows_are_told_apart_however_many_columns_they_have() -> None:
    columns = np.random.default_rng(1).integers(-1, 4000, (9, 500))
    columns[:, 250:] = columns[:, :250]
    columns[8, 499] += 1
    first, ids = _distinct(list(columns))
    assert len(first) == len(np.unique(columns, axis=1).T) == 251
    np.testing.assert_array_equal(columns[:, first[ids]], columns)
