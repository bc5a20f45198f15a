import pytest
from rdkit import Chem

from workers.annotate import annotate


def test_a_molecule_is_named_and_measured() -> None:
    found = annotate("C(C)(=O)Oc1ccccc1C(O)=O")
    assert found is not None
    assert found.canonical == Chem.CanonSmiles("CC(=O)Oc1ccccc1C(=O)O")
    assert found.inchikey == "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"
    assert found.mw == pytest.approx(180.16, abs=0.01)
    assert found.tpsa == pytest.approx(63.6, abs=0.1)
    assert found.logp == pytest.approx(1.31, abs=0.01)
    assert found.qed == pytest.approx(0.55, abs=0.01)
    assert found.sa == pytest.approx(1.58, abs=0.05)
    assert found.scaffold == "c1ccccc1"


def test_alerts_name_their_catalogue() -> None:
    found = annotate("O=C1C=CC(=O)C=C1")
    assert found is not None
    assert any(alert.startswith("PAINS_A: quinone") for alert in found.alerts)
    assert any(alert.startswith("Brenk: ") for alert in found.alerts)
    assert list(found.alerts) == sorted(found.alerts)


@pytest.mark.parametrize("text", ["", " ", "CCO name", "CCO ", "C1CC", "xyz", "C(C)(C)(C)(C)C", "[PAD]"])
def test_what_is_no_molecule_has_no_annotation(text: str) -> None:
    assert annotate(text) is None


@pytest.mark.parametrize("text", ["[H][H]", "[Na+].[Cl-]", "[C]", "C=C=C=C[N+](=O)[O-]", "[2H]"])
def test_odd_molecules_are_annotated_too(text: str) -> None:
    found = annotate(text)
    assert found is not None and found.scaffold == "" and found.inchikey


def test_a_molecule_that_inchi_cannot_describe_has_no_key() -> None:
    found = annotate("*CC")
    assert found is not None and found.inchikey is None
