"""A molecule as chemprop's networks see it: kinds of atoms and bonds, and who is bonded to whom. Knows no torch.

Only few kinds of atoms and bonds exist, so each is one number here, and its features are looked up by it where they
are needed. The features and their order are those of chemprop's `SimpleMoleculeMolGraphFeaturizer` (version 2), which
the weights were trained on; the arrays are equal to its own, which the tests compare.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rdkit.Chem.rdchem import Atom, BondType, HybridizationType

Features = NDArray[np.float32]
Numbers = NDArray[np.int64]


def _places(choices: Iterable[Hashable]) -> dict[Any, int]:
    return {choice: place for place, choice in enumerate(choices)}


# The place of each choice's one in a row of features; what is none of the choices has the place behind them.
_ELEMENTS = _places([*range(1, 37), 53])
_DEGREES = _places(range(6))
_CHARGES = _places([-1, -2, 1, 2, 0])
_CHIRAL_TAGS = _places(range(4))
_HYDROGENS = _places(range(5))
_HYBRIDIZATIONS = _places(
    [
        HybridizationType.S,
        HybridizationType.SP,
        HybridizationType.SP2,
        HybridizationType.SP2D,
        HybridizationType.SP3,
        HybridizationType.SP3D,
        HybridizationType.SP3D2,
    ]
)
_BONDS = _places([BondType.SINGLE, BondType.DOUBLE, BondType.TRIPLE, BondType.AROMATIC])
_STEREO = _places(range(6))

BOND_BITS = 8
"""A bond's kind is below 2 to this power; an atom's, below 2 to the power of 50."""


class MoleculeGraph(NamedTuple):
    """One molecule of A atoms and B bonds.

    Shapes: atoms (A,) and bonds (2B,), their kinds; source and target (2B,), the atoms that each directed bond leads
    from and to. A bond's two directions stand one behind the other, 2i and 2i + 1.
    """

    atoms: Numbers
    bonds: Numbers
    source: Numbers
    target: Numbers


def featurize(mol: Any) -> MoleculeGraph:
    """The graph of an RDKit molecule with at least one atom. Hydrogens that RDKit leaves implicit are no atoms here."""
    atoms = np.array([_atom(atom) for atom in mol.GetAtoms()], dtype=np.int64)
    bonds = [(_bond(bond), bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds()]
    kinds, begins, ends = np.array(bonds, dtype=np.int64).reshape(-1, 3).T
    return MoleculeGraph(
        atoms, kinds.repeat(2), np.stack([begins, ends], axis=1).ravel(), np.stack([ends, begins], axis=1).ravel()
    )


def _atom(atom: Any) -> int:
    kind: int = (
        atom.GetIsotope() << 32
        | atom.GetAtomicNum() << 24
        | _DEGREES.get(atom.GetTotalDegree(), 6) << 20
        | _CHARGES.get(atom.GetFormalCharge(), 5) << 16
        | _CHIRAL_TAGS.get(int(atom.GetChiralTag()), 4) << 12
        | _HYDROGENS.get(int(atom.GetTotalNumHs()), 5) << 8
        | _HYBRIDIZATIONS.get(atom.GetHybridization(), 7) << 4
        | int(atom.GetIsAromatic())
    )
    return kind


def _bond(bond: Any) -> int:
    kind: int = (
        _BONDS.get(bond.GetBondType(), 4) << 5
        | bond.GetIsConjugated() << 4
        | bond.IsInRing() << 3
        | _STEREO.get(int(bond.GetStereo()), 6)
    )
    return kind


def atom_features(kinds: Numbers) -> Features:
    """The features of atoms (n, 72) by their kinds (n,)."""
    return np.array([_atom_row(kind) for kind in kinds.tolist()], dtype=np.float32).reshape(-1, 72)


def bond_features(kinds: Numbers) -> Features:
    """The features of bonds (n, 14) by their kinds (n,)."""
    return np.array([_bond_row(kind) for kind in kinds.tolist()], dtype=np.float32).reshape(-1, 14)


@cache
def _atom_row(kind: int) -> Features:
    atom = Atom(kind >> 24 & 255)
    atom.SetIsotope(kind >> 32)
    parts = [
        _one(_ELEMENTS.get(atom.GetAtomicNum(), 37), 38),
        _one(kind >> 20 & 15, 7),
        _one(kind >> 16 & 15, 6),
        _one(kind >> 12 & 15, 5),
        _one(kind >> 8 & 15, 6),
        _one(kind >> 4 & 15, 8),
        np.array([kind & 1, 0.01 * atom.GetMass()]),
    ]
    return np.concatenate(parts, dtype=np.float32)


@cache
def _bond_row(kind: int) -> Features:
    known = _one(kind >> 5, 5)[:-1]  # a bond of another kind has none of the four, and no place of its own
    parts = [np.zeros(1), known, np.array([kind >> 4 & 1, kind >> 3 & 1]), _one(kind & 7, 7)]
    return np.concatenate(parts, dtype=np.float32)


def _one(place: int, places: int) -> NDArray[np.float64]:
    row = np.zeros(places)
    row[place] = 1.0
    return row
