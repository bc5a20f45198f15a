"""What a chemist wants to know of a generated SMILES: is it a molecule, which one, and is it a sensible one.

About two milliseconds of RDKit a molecule. Alerts are annotations, never a filter: PAINS and BRENK flag half of all
approved drugs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem import QED, Crippen, Descriptors, rdMolDescriptors
from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams
from rdkit.Chem.Scaffolds import MurckoScaffold
from rdkit.Contrib.SA_Score import sascorer


@dataclass(frozen=True, slots=True)
class Annotation:
    """A molecule's identity and simple properties.

    `qed` is 0 to 1 (drug-like), `sa` 1 to 10 (easy to hard to make), `logp` Crippen's, `mw` in g/mol, `tpsa` in
    square ångström. `scaffold` is Bemis and Murcko's, "" for a molecule without rings. `inchikey` is None where InChI
    cannot describe the molecule (a wildcard atom). `alerts` reads like "PAINS_A: quinone_A(370)", sorted.
    """

    canonical: str
    inchikey: str | None
    qed: float
    sa: float
    logp: float
    mw: float
    tpsa: float
    scaffold: str
    alerts: tuple[str, ...]


def annotate(smiles: str) -> Annotation | None:
    """Annotate one SMILES; None when it is no valid molecule.

    RDKit takes an empty text for an empty molecule, and a text behind white space for a name; neither counts here.
    """
    if not smiles or smiles.split() != [smiles]:
        return None
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None or molecule.GetNumAtoms() == 0:
            return None
        return Annotation(
            canonical=Chem.MolToSmiles(molecule),
            inchikey=Chem.MolToInchiKey(molecule) or None,  # type: ignore[no-untyped-call]
            qed=QED.qed(molecule),  # type: ignore[no-untyped-call]
            sa=sascorer.calculateScore(molecule),
            logp=Crippen.MolLogP(molecule),  # type: ignore[attr-defined]
            mw=Descriptors.MolWt(molecule),  # type: ignore[attr-defined]
            tpsa=rdMolDescriptors.CalcTPSA(molecule),
            scaffold=MurckoScaffold.MurckoScaffoldSmiles(mol=molecule),  # type: ignore[no-untyped-call]
            alerts=_alerts(molecule),
        )


def _alerts(molecule: Any) -> tuple[str, ...]:
    matches = _catalog().GetMatches(molecule)
    return tuple(sorted({f"{match.GetProp('FilterSet')}: {match.GetDescription()}" for match in matches}))


@cache
def _catalog() -> Any:
    chosen = FilterCatalogParams()
    chosen.AddCatalog(FilterCatalogParams.FilterCatalogs.PAINS)
    chosen.AddCatalog(FilterCatalogParams.FilterCatalogs.BRENK)
    return FilterCatalog(chosen)
