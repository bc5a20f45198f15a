from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from chemprop.featurizers import SimpleMoleculeMolGraphFeaturizer
from rdkit import Chem

from producer.demo_corpora import approved_drugs
from workers.engines.molecule_graph import atom_features, bond_features, featurize

ODD = [
    "C",
    "[H][H]",
    "[Na+].[Cl-]",
    "[Pt+2]",
    "[13CH4]",
    "O=[U]=O",
    "F[P-](F)(F)(F)(F)F",
    "C[Si](C)(C)C",
    "FS(F)(F)(F)(F)F",
    "[NH3]->[Pt](Cl)Cl",
    "C/C=C/C",
    "C/C=C\\C",
    "[Fe+3]",
    "CC#C[C@H](F)Cl",
    "I[I-]I",
    "[O-][N+](=O)c1ccccc1",
]


@pytest.fixture(scope="module")
def molecules() -> list[Chem.Mol]:
    drugs = [record.content.smiles for record in islice(approved_drugs(), 0, None, 3)]
    found = [Chem.MolFromSmiles(smiles) for smiles in [*ODD, *drugs]]
    return [mol for mol in found if mol is not None]


def test_graphs_equal_those_that_chemprop_makes(molecules):
    theirs = SimpleMoleculeMolGraphFeaturizer()
    assert len(molecules) > 900
    for mol in molecules:
        expected, found = theirs(mol), featurize(mol)
        np.testing.assert_array_equal(atom_features(found.atoms), expected.V.astype(np.float32))
        np.testing.assert_array_equal(bond_features(found.bonds), expected.E.astype(np.float32))
        np.testing.assert_array_equal([found.source, found.target], expected.edge_index.reshape(2, -1))
        np.testing.assert_array_equal(np.arange(len(found.source)) ^ 1, expected.rev_edge_index)
