"""Molecules on a worker: reading a SMILES, standardizing its structure, and the plain RDKit descriptors.

Importing this file takes RDKit's messages over for the whole process: errors go to the thread that caused them, where
they become a row's reason, and nothing is printed. Everything here may be called from many threads at once.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem import QED, rdMolDescriptors
from rdkit.Chem.MolStandardize import rdMolStandardize

from schemas.errors import RowError, UsageError

PARENT = "parent"
AS_GIVEN = "none"

# No SMILES of real molecules spends this many characters an atom; longer texts are refused before parsing them.
_CHARACTERS_PER_ATOM = 16

DESCRIPTORS = (
    "molecular_weight",
    "logP",
    "hydrogen_bond_acceptors",
    "hydrogen_bond_donors",
    "Lipinski",
    "QED",
    "stereo_centers",
    "tpsa",
)


@dataclass(frozen=True, slots=True)
class Structure:
    """A molecule that is ready to be predicted on. `mol` was read from `smiles`, so the text alone reproduces it.

    `inchikey` is empty for the few structures that InChI cannot express (dative bonds to metals).
    """

    mol: Any
    smiles: str
    inchikey: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a SMILES is no molecule that can be predicted on, as a value."""

    code: RowError
    message: str


def read(
    smiles: str, *, standardize: str = PARENT, tautomers: bool = False, max_atoms: int = 400
) -> Structure | Refused:
    """Read a SMILES and bring it into the form that is predicted on and stored.

    `parent` cleans the structure up (bonds to metals are cut), keeps its largest organic fragment and removes charges
    where it can; with `tautomers` it also takes the canonical tautomer, which costs tens of milliseconds and drops
    stereo centres that tautomerism scrambles. `none` keeps the molecule as written. Both end in the canonical isomeric
    SMILES, read back: a graph network sees the order of the atoms through chiral tags, and so equal molecules get
    equal values. `max_atoms` counts the atoms as written, without hydrogens that RDKit leaves implicit.

    Raises:
        UsageError: `standardize` is neither `parent` nor `none`, or asks for tautomers of an untouched molecule.
    """
    if standardize not in (PARENT, AS_GIVEN):
        raise UsageError(f"standardize is '{PARENT}' or '{AS_GIVEN}', not {standardize!r}")
    if tautomers and standardize == AS_GIVEN:
        raise UsageError(f"tautomers need standardize = '{PARENT}'")
    words = smiles.split()
    if not words:
        return Refused(RowError.EMPTY_SMILES, "the SMILES is empty")
    if len(words) > 1:
        return Refused(RowError.TRAILING_TEXT, f"text after the SMILES: '{words[1][:40]}'")
    if len(words[0]) > _CHARACTERS_PER_ATOM * max_atoms:
        return Refused(RowError.TOO_LONG, f"{len(words[0])} characters; the model takes up to {max_atoms} atoms")
    with _listening() as said:
        mol = Chem.MolFromSmiles(words[0])
    if mol is None:
        return Refused(RowError.INVALID_SMILES, _reason(said))
    objection = _objection(mol, max_atoms)
    if objection is not None:
        return objection
    return _settle(mol) if standardize == AS_GIVEN else _parent(mol, tautomers)


def describe(mol: Any) -> list[float]:
    """The descriptors named in `DESCRIPTORS`, in that order; Lipinski counts the rules of four that are kept."""
    drug_likeness = QED.properties(mol)  # type: ignore[no-untyped-call]  # holds the costly logP and weight as well, each computed once
    weight, logp = drug_likeness.MW, drug_likeness.ALOGP
    acceptors, donors = rdMolDescriptors.CalcNumHBA(mol), rdMolDescriptors.CalcNumHBD(mol)
    return [
        weight,
        logp,
        float(acceptors),
        float(donors),
        float((weight <= 500) + (logp <= 5) + (acceptors <= 10) + (donors <= 5)),
        QED.qed(mol, qedProperties=drug_likeness),  # type: ignore[no-untyped-call]
        float(rdMolDescriptors.CalcNumAtomStereoCenters(mol)),
        rdMolDescriptors.CalcTPSA(mol),
    ]


def _objection(mol: Any, max_atoms: int) -> Refused | None:
    if mol.GetNumAtoms() > max_atoms:
        return Refused(RowError.TOO_LONG, f"{mol.GetNumAtoms()} atoms; the model takes up to {max_atoms}")
    elements = {atom.GetAtomicNum() for atom in mol.GetAtoms()}
    if 0 in elements:
        return Refused(RowError.UNSUPPORTED, "an atom of no element (*): a pattern or attachment point, no molecule")
    if elements <= {1}:
        return Refused(RowError.UNSUPPORTED, "no atom other than hydrogen")
    return None


def _parent(mol: Any, tautomers: bool) -> Structure | Refused:
    try:
        with _listening():
            mol = rdMolStandardize.Cleanup(mol, _CLEANUP)
            if len(Chem.GetMolFrags(mol)) > 1 and all(atom.GetAtomicNum() != 6 for atom in mol.GetAtoms()):
                # Which ion of a salt, or which ligand of a metal, would be an arbitrary choice.
                return Refused(
                    RowError.STANDARDIZATION,
                    "several fragments once standardized (salt or metal "
                    "complex) and none is organic: no parent molecule; standardize=none predicts on it as given",
                )
            mol = _UNCHARGER.uncharge(rdMolStandardize.FragmentParent(mol, _CLEANUP, skipStandardize=True))
            if tautomers:
                mol = rdMolStandardize.CanonicalTautomer(mol, _CLEANUP)
    except (ValueError, RuntimeError) as fault:  # RDKit's sanitization errors, and its C++ invariants
        return Refused(RowError.STANDARDIZATION, _one_line(str(fault)))
    return _settle(mol)


def _settle(mol: Any) -> Structure | Refused:
    """The molecule as its canonical SMILES tells it. Normalization breaks a few rings, which shows only here."""
    smiles = Chem.MolToSmiles(mol)
    with _listening() as said:
        settled = Chem.MolFromSmiles(smiles)
        if settled is None:
            return Refused(RowError.STANDARDIZATION, f"'{smiles[:80]}' cannot be read back: {_reason(said)}")
        return Structure(settled, smiles, Chem.MolToInchiKey(settled))  # type: ignore[no-untyped-call]


_heard = threading.local()


class _Listener(logging.Handler):
    """Keeps RDKit's messages for the thread that is listening; all others are dropped."""

    def emit(self, record: logging.LogRecord) -> None:
        lines: list[str] | None = getattr(_heard, "lines", None)
        if lines is not None:
            lines.append(record.getMessage())


@contextmanager
def _listening() -> Iterator[list[str]]:
    lines: list[str] = []
    _heard.lines = lines
    try:
        yield lines
    finally:
        _heard.lines = None


def _reason(said: list[str]) -> str:
    """What RDKit said, in one line, without its clock and without repeating the SMILES."""
    lines = [_one_line(line) for line in said]
    position = next((re.search(r"around position (\d+)", line) for line in lines if "around position" in line), None)
    if position:
        return f"syntax error around position {position[1]}"
    return next((line for line in lines if line), "RDKit gives no reason")


def _one_line(text: str) -> str:
    text = re.sub(r"^\[[\d:]+\]\s*|SMILES Parse Error: ", "", text.strip())
    return " ".join(re.sub(r" for input: .*", "", text, flags=re.DOTALL).split())[:200]


def _take_over_messages() -> None:
    rdBase.LogToPythonLogger()
    logger = logging.getLogger("rdkit")
    logger.handlers = [_Listener()]
    logger.propagate = False
    for level in ("rdApp.debug", "rdApp.info", "rdApp.warning"):
        rdBase.DisableLog(level)


_take_over_messages()
_CLEANUP = rdMolStandardize.CleanupParameters()
_CLEANUP.preferOrganic = True  # type: ignore[assignment]
_UNCHARGER = rdMolStandardize.Uncharger()
