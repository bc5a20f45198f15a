"""Reading and standardizing molecules: what is refused and why, and what the stored SMILES stands for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from rdkit import Chem
from rdkit.Chem import Crippen, Descriptors, rdMolDescriptors
from rdkit.Chem.QED import qed

from schemas.errors import RowError, UsageError
from workers.molecules import DESCRIPTORS, Refused, Structure, describe, read

BAD = [
    ("C1CC", RowError.INVALID_SMILES, "unclosed ring"),
    ("c1cccc1", RowError.INVALID_SMILES, "Can't kekulize mol. Unkekulized atoms: 0 1 2 3 4"),
    ("C(C)(C)(C)(C)C", RowError.INVALID_SMILES, "Explicit valence for atom # 0 C, 5, is greater than permitted"),
    ("CC>>CO", RowError.INVALID_SMILES, "syntax error around position 3"),
    ("[Xx]", RowError.INVALID_SMILES, "syntax error around position 2"),
    ("ethanol", RowError.INVALID_SMILES, "syntax error around position 1"),
    ("C(" * 500, RowError.INVALID_SMILES, "syntax error around position 1000"),
    ("é", RowError.INVALID_SMILES, "syntax error around position 1"),
    ("", RowError.EMPTY_SMILES, "empty"),
    (" \t\n", RowError.EMPTY_SMILES, "empty"),
    ("CCO ethanol", RowError.TRAILING_TEXT, "'ethanol'"),
    ("CCO |$;;_R1$|", RowError.TRAILING_TEXT, "'|$;;_R1$|'"),
    ("[Na+].[Cl-]", RowError.STANDARDIZATION, "none is organic"),
    ("[NH3]->[Pt](<-[NH3])([Cl])[Cl]", RowError.STANDARDIZATION, "none is organic"),
    ("CCOC(=O)[N-]c1c[n+](N2CCOCC2)no1", RowError.STANDARDIZATION, "cannot be read back: Can't kekulize"),
    ("*", RowError.UNSUPPORTED, "no element"),
    ("*CCO", RowError.UNSUPPORTED, "no element"),
    ("[H][H]", RowError.UNSUPPORTED, "hydrogen"),
    ("C" * 500, RowError.TOO_LONG, "500 atoms; the model takes up to 400"),
    ("C" * 20_000, RowError.TOO_LONG, "20000 characters"),
    ("N[C@@H](C)C(=O)" * 90 + "O", RowError.TOO_LONG, "451 atoms"),
]


def structure(smiles: str, standardize: str = "parent", tautomers: bool = False) -> Structure:
    found = read(smiles, standardize=standardize, tautomers=tautomers)
    assert isinstance(found, Structure), found
    return found


@pytest.mark.parametrize(("smiles", "code", "reason"), BAD, ids=[bad[0][:16] or "empty" for bad in BAD])
def test_a_bad_molecule_is_refused_with_its_reason_in_one_line(smiles: str, code: RowError, reason: str) -> None:
    refused = read(smiles)
    assert isinstance(refused, Refused)
    assert refused.code is code
    assert reason in refused.message
    assert "\n" not in refused.message
    assert len(refused.message) < 300


def test_nothing_is_printed_about_bad_molecules(capfd: pytest.CaptureFixture[str]) -> None:
    for smiles, _, _ in BAD:
        read(smiles)
    structure("[Na]OC(=O)c1ccccc1")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("smiles", "parent"),
    [
        ("OCC", "CCO"),
        ("  CCO\n", "CCO"),
        ("C1=CC=CC=C1", "c1ccccc1"),
        ("[Na+].[O-]C(=O)c1ccccc1", "O=C(O)c1ccccc1"),
        ("[Na]OC(=O)c1ccccc1", "O=C(O)c1ccccc1"),
        ("CC[NH3+].[Cl-]", "CCN"),
        ("OS(=O)(=O)O.OS(=O)(=O)O.CN", "CN"),
        ("CN(=O)=O", "C[N+](=O)[O-]"),
        ("[NH3+][C@@H](C)C(=O)[O-]", "C[C@H](N)C(=O)O"),
        ("C[N+](C)(C)C.[Br-]", "C[N+](C)(C)C"),
        ("[2H]C([2H])([2H])O", "[2H]C([2H])([2H])O"),
        ("O", "O"),
        ("[Fe+2]", "[Fe+2]"),
    ],
)
def test_the_parent_is_the_neutral_largest_organic_fragment(smiles: str, parent: str) -> None:
    assert structure(smiles).smiles == parent


def test_a_parent_is_its_own_parent() -> None:
    for smiles in ("[Na+].[O-]C(=O)c1ccccc1", "CN(=O)=O", "[NH3+]CC(=O)[O-]", "F/C=C/[C@H](O)[N+](C)(C)C.[I-]"):
        once = structure(smiles)
        assert structure(once.smiles).smiles == once.smiles


def test_none_keeps_salts_charges_and_metals() -> None:
    assert structure("[Na+].[O-]C(=O)C", "none").smiles == "CC(=O)[O-].[Na+]"
    assert structure("[Na+].[Cl-]", "none").smiles == "[Cl-].[Na+]"
    assert "Pt" in structure("[NH3]->[Pt](<-[NH3])([Cl])[Cl]", "none").smiles


def test_tautomers_are_merged_only_on_request() -> None:
    lactim, lactam = "Oc1ccccn1", "O=c1cccc[nH]1"
    assert structure(lactim).smiles == lactim
    assert structure(lactim, tautomers=True).smiles == structure(lactam, tautomers=True).smiles == lactam


def test_two_spellings_of_one_molecule_become_the_same_structure() -> None:
    written = [structure(smiles) for smiles in ("C[C@@H](O)CC", "CC[C@H](O)C", "[C@@H](C)(CC)O")]
    assert len({one.smiles for one in written}) == 1
    assert len({one.inchikey for one in written}) == 1
    tags = [[atom.GetChiralTag() for atom in one.mol.GetAtoms()] for one in written]
    assert tags[0] == tags[1] == tags[2]


def test_the_inchikey_is_that_of_the_standardized_structure() -> None:
    assert structure("CC(=O)Oc1ccccc1C(=O)[O-].[K+]").inchikey == "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"


def test_unknown_parameters_are_a_fault_of_the_job_and_not_of_the_row() -> None:
    with pytest.raises(UsageError, match="standardize is 'parent' or 'none'"):
        read("CCO", standardize="full")
    with pytest.raises(UsageError, match="tautomers need"):
        read("CCO", standardize="none", tautomers=True)


def test_descriptors_are_rdkits_own() -> None:
    mol = structure("CC(=O)Oc1ccccc1C(=O)O").mol
    described = dict(zip(DESCRIPTORS, describe(mol), strict=True))
    assert described == {
        "molecular_weight": Descriptors.MolWt(mol),
        "logP": Crippen.MolLogP(mol),
        "hydrogen_bond_acceptors": 3.0,
        "hydrogen_bond_donors": 1.0,
        "Lipinski": 4.0,
        "QED": qed(mol),
        "stereo_centers": 0.0,
        "tpsa": rdMolDescriptors.CalcTPSA(mol),
    }


def test_threads_get_the_reasons_of_their_own_rows() -> None:
    rows = [BAD[n % 5] if n % 3 else (f"[Na+].[O-]C(=O){'C' * (n % 40 + 1)}", None, "") for n in range(600)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: read(row[0]), rows))
    for (smiles, code, reason), answer in zip(rows, found, strict=True):
        if code is None:
            assert isinstance(answer, Structure)
            assert Chem.MolFromSmiles(smiles).GetNumAtoms() == answer.mol.GetNumAtoms() + 1
        else:
            assert answer == Refused(code, answer.message)
            assert reason in answer.message
