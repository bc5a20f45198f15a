"""A molecule as chemprop's networks see it: one-hot atoms and bonds, and who is bonded to whom. Knows no torch.

The features and their order are those of chemprop's `SimpleMoleculeMolGraphFeaturizer` (version 2), which the weights
were trained on; the arrays are equal to its own, which the tests compare. Atoms and bonds of a kind share one row that
is made once, so that featurizing takes a look-up an atom.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem.rdchem import BondType, HybridizationType

Features = NDArray[np.float32]

_ELEMENTS = (*range(1, 37), 53)
_DEGREES = range(6)
_CHARGES = (-1, -2, 1, 2, 0)
_CHIRAL_TAGS = range(4)
_HYDROGENS = range(5)
_HYBRIDIZATIONS = (
    HybridizationType.S,
    HybridizationType.SP,
    HybridizationType.SP2,
    HybridizationType.SP2D,
    HybridizationType.SP3,
    HybridizationType.SP3D,
    HybridizationType.SP3D2,
)
_BONDS = (BondType.SINGLE, BondType.DOUBLE, BondType.TRIPLE, BondType.AROMATIC)
_STEREO = range(6)


class MoleculeGraph(NamedTuple):
    """One molecule of A atoms and B bonds.

    Shapes: atoms (A, 72), bonds (2B, 14), source and target (2B,): the atoms that each directed bond leads from and
    to. A bond's two directions stand one behind the other, 2i and 2i + 1.
    """

    atoms: Features
    bonds: Features
    source: NDArray[np.int64]
    target: NDArray[np.int64]


def featurize(mol: Any) -> MoleculeGraph:
    """The graph of an RDKit molecule with at least one atom. Hydrogens that RDKit leaves implicit are no atoms here."""
    atoms = np.array([_atom(atom) for atom in mol.GetAtoms()])
    bonds = list(mol.GetBonds())
    ends = np.array([(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in bonds], dtype=np.int64).reshape(-1, 2)
    kinds = np.array([_bond(bond) for bond in bonds], dtype=np.float32).reshape(-1, 14)
    return MoleculeGraph(atoms, kinds.repeat(2, axis=0), ends.ravel(), ends[:, ::-1].ravel())


def _atom(atom: Any) -> Features:
    return _atom_row(
        atom.GetAtomicNum(),
        atom.GetTotalDegree(),
        atom.GetFormalCharge(),
        int(atom.GetChiralTag()),
        int(atom.GetTotalNumHs()),
        atom.GetHybridization(),
        atom.GetIsAromatic(),
        atom.GetMass(),
    )


def _bond(bond: Any) -> Features:
    return _bond_row(bond.GetBondType(), bond.GetIsConjugated(), bond.IsInRing(), int(bond.GetStereo()))


@cache
def _atom_row(
    element: int, degree: int, charge: int, tag: int, hydrogens: int, hybridization: Any, aromatic: bool, mass: float
) -> Features:
    return np.concatenate(
        [
            _one_hot(element, _ELEMENTS),
            _one_hot(degree, _DEGREES),
            _one_hot(charge, _CHARGES),
            _one_hot(tag, _CHIRAL_TAGS),
            _one_hot(hydrogens, _HYDROGENS),
            _one_hot(hybridization, _HYBRIDIZATIONS),
            [float(aromatic), 0.01 * mass],
        ],
        dtype=np.float32,
    )


@cache
def _bond_row(kind: Any, conjugated: bool, in_ring: bool, stereo: int) -> Features:
    known = _one_hot(kind, _BONDS)[:-1]  # a bond of another kind has none of the four, and no place of its own
    return np.concatenate(
        [[0.0], known, [float(conjugated), float(in_ring)], _one_hot(stereo, _STEREO)], dtype=np.float32
    )


def _one_hot(value: Any, choices: Any) -> NDArray[np.float64]:
    """A one in the place of the value, the last place where it is none of the choices."""
    row = np.zeros(len(choices) + 1)
    row[choices.index(value) if value in choices else -1] = 1.0
    return row
