"""Which column or key holds what, when the user does not say."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.items import ContentKind

SMILES_NAMES = ("smiles", "canonical_smiles")
PROMPT_NAMES = (*SMILES_NAMES, "prompt")
PAPER_ID_NAMES = ("custom_id", "id", "paper_id")
ID_NAMES = ("custom_id", "id", "mol_id", "molecule_id", "compound_id", "name")


def text_names(kind: ContentKind) -> tuple[str, ...]:
    """Names of the column that holds the SMILES of a molecule or prompt, best first."""
    return PROMPT_NAMES if kind is ContentKind.PROMPT else SMILES_NAMES


def id_names(kind: ContentKind) -> tuple[str, ...]:
    """Names of the column that holds the row's own name, best first."""
    return PAPER_ID_NAMES if kind is ContentKind.PAPER else ID_NAMES


def find_column(names: Iterable[str], wanted: tuple[str, ...]) -> str | None:
    """The first of `names` that is the best of `wanted`, as written or else regardless of case, spaces and hyphens."""
    present = list(names)
    for name in wanted:
        if name in present:
            return name
    plain = [_plain(name) for name in present]
    for name in wanted:
        if (key := _plain(name)) in plain:
            return present[plain.index(key)]
    return None


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")
