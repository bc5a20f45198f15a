"""Molecules with labels, from a table: a SMILES column, and one column a task whose empty cells are missing labels."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from schemas.errors import UsageError
from schemas.splits import scaffold_split
from workers.engines.classifier_cpu import MAX_ATOMS
from workers.engines.nearest import ENDPOINT
from workers.molecules import Refused, read
from workers.training.data_file import opened

PARTS = ("train", "validation", "test")

Kind = Literal["probability", "regression"]


@dataclass(frozen=True, slots=True)
class Labelled:
    """Molecules with a label, in the table's order.

    `given` is a SMILES as it stands there, `smiles` as workers standardize it, "" where they refuse it for the reason
    in `refused`. `labels` is (molecules, tasks) float64, NaN where one is missing. `left_out` counts other rows by
    reason; `other_columns` are neither tasks nor SMILES.
    """

    tasks: tuple[str, ...]
    kind: Kind
    given: list[str]
    smiles: list[str]
    refused: list[str]
    labels: NDArray[np.float64]
    left_out: dict[str, int]
    other_columns: tuple[str, ...]


def read_labelled(file: Path, smiles_column: str, tasks: Sequence[str]) -> Labelled:
    """Read a table; tasks are the columns asked for, or all that hold numbers alone.

    All labels of a model are of one kind: probabilities if they are 0 and 1 alone, else values.

    Raises:
        UsageError: the file cannot be read, or a column is missing, is no column of numbers, or of another kind.
    """
    header, rows = _table(file)
    at = _place(file, header, smiles_column)
    chosen, cells = _tasks(file, header, rows, at, tasks)
    binary = [bool(np.isin(column[~np.isnan(column)], (0.0, 1.0)).all()) for column in cells.T]
    if len(set(binary)) > 1:
        numbers = ", ".join(name for name, only in zip(chosen, binary, strict=True) if not only)
        raise UsageError(f"{file}: labels of 0 and 1 beside others ({numbers}): name those of one kind with --task")
    left_out: Counter[str] = Counter()
    kept: list[int] = []
    found: list[tuple[str, str, str]] = []
    for place, row in enumerate(rows):
        given = row[at].strip()
        if np.isnan(cells[place]).all():
            left_out["without a label"] += 1
        elif not _is_molecule(given):
            left_out["no molecule"] += 1
        else:
            structure = read(given, max_atoms=MAX_ATOMS)
            kept.append(place)
            found.append(
                (given, "", structure.code) if isinstance(structure, Refused) else (given, structure.smiles, "")
            )
    return Labelled(
        tasks=chosen,
        kind="probability" if binary[0] else "regression",
        given=[given for given, _, _ in found],
        smiles=[smiles for _, smiles, _ in found],
        refused=[reason for _, _, reason in found],
        labels=cells[kept],
        left_out=dict(left_out),
        other_columns=tuple(name for name in header if name not in chosen and name != header[at]),
    )


@dataclass(frozen=True, slots=True)
class Split:
    """The places of molecules to learn from, to choose by and to be tested on; `usable` without those refused.

    `names` is what each molecule is known by: its standardized SMILES, or as given where it is refused.
    """

    names: list[str]
    parts: dict[str, NDArray[np.int64]]
    usable: dict[str, NDArray[np.int64]]


def split(known: Labelled, unusable: Sequence[str]) -> Split:
    """Split by scaffold, as `sciqueue evaluate` splits the same table; `unusable` has the reason for each, or "".

    Raises:
        UsageError: a part has no molecules.
    """
    names = [given if why else smiles for given, smiles, why in zip(known.given, known.smiles, unusable, strict=True)]
    found = scaffold_split([scaffold(one) for one in names])
    parts = {name: np.array(part, dtype=np.int64) for name, part in zip(PARTS, found, strict=True)}
    may = np.array([not why for why in unusable], dtype=bool)
    usable = {name: part[may[part]] for name, part in parts.items()}
    empty = [name for name, part in usable.items() if not len(part)]
    if empty:
        raise UsageError(f"{len(names)} labelled molecules leave none for {' and '.join(empty)}; give more")
    return Split(names, parts, usable)


def _is_molecule(text: str) -> bool:
    """Whether RDKit reads it, and it is one word and has an atom, as `sciqueue evaluate` counts them."""
    from rdkit import Chem

    if not text or text.split() != [text]:
        return False
    molecule = Chem.MolFromSmiles(text)
    return molecule is not None and molecule.GetNumAtoms() > 0


def scaffold(smiles: str) -> str:
    """Bemis and Murcko's, of however many rings; "" without any. Stereochemistry does not tell two apart."""
    from rdkit import Chem
    from rdkit.Chem.Scaffolds import MurckoScaffold

    return str(MurckoScaffold.MurckoScaffoldSmiles(mol=Chem.MolFromSmiles(smiles), includeChirality=False))  # type: ignore[no-untyped-call]


def _table(file: Path) -> tuple[list[str], list[list[str]]]:
    kind = Path(file.name.removesuffix(".gz")).suffix.lower()
    if kind not in (".csv", ".tsv"):
        raise UsageError(f"{file}: labelled molecules are read from .csv and .tsv, also .gz")
    try:
        with opened(file) as text:
            table = csv.reader(text, delimiter="," if kind == ".csv" else "\t")
            header = [name.strip() for name in next(table, [])]
            rows = [row + [""] * (len(header) - len(row)) for row in table if row]
    except (OSError, UnicodeDecodeError, EOFError, csv.Error) as fault:
        raise UsageError(f"{file} cannot be read: {fault}") from fault
    if len(set(header)) < len(header):
        raise UsageError(f"{file}: two columns have one name: {', '.join(header)}")
    return header, rows


def _place(file: Path, header: Sequence[str], column: str) -> int:
    for at, name in enumerate(header):
        if name.casefold() == column.casefold():
            return at
    raise UsageError(f"{file}: no column '{column}'; it has: {', '.join(header) or 'nothing'}")


def _tasks(
    file: Path, header: Sequence[str], rows: Sequence[Sequence[str]], smiles: int, asked: Sequence[str]
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """The columns of labels and their cells, (rows, tasks): those asked for, or all that hold numbers alone."""
    if ENDPOINT.name in asked:
        raise UsageError(f"{file}: no task can be named {ENDPOINT.name}: every model says that beside its tasks")
    given = (at for at, name in enumerate(header) if at != smiles and name != ENDPOINT.name)
    places = [_place(file, header, name) for name in asked] or list(given)
    found: dict[str, list[float]] = {}
    for at in places:
        try:
            column = [_number(row[at]) for row in rows]
        except ValueError as fault:
            if asked:
                raise UsageError(f"{file}: column '{header[at]}' holds what is no number: {fault}") from None
            continue
        if not all(map(math.isnan, column)):
            found[header[at]] = column
    if not found:
        raise UsageError(f"{file}: no column of labels; it has: {', '.join(header)}. A task's cells are numbers")
    return tuple(found), np.array(list(found.values()), dtype=np.float64).T


def _number(cell: str) -> float:
    cell = cell.strip()
    if not cell or cell.casefold() in ("na", "nan"):
        return math.nan
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(cell)
    return value
