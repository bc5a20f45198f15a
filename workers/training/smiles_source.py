"""The SMILES that a model is trained on: a data set by name, from an installed package, or a file."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO

from schemas.errors import NotFound, UsageError
from workers.training.data_file import of_package, opened, sha256_of

_MOSES = ("molsets", "0.3.1", "MIT (MOSES, made from ZINC Clean Leads)")
_NAMED = {
    "moses:train": (*_MOSES, "moses/dataset/data/train.csv.gz"),
    "moses:test": (*_MOSES, "moses/dataset/data/test.csv.gz"),
}
_COLUMNS = ("smiles", "canonical_smiles")  # the other is that of ChEMBL's own files
_CHEMBL = re.compile(r"chembl_\d+_chemreps\.txt(\.gz)?"), "CC BY-SA 3.0 (ChEMBL)"


@dataclass(frozen=True, slots=True)
class SmilesSource:
    """Where SMILES come from. `licence` is "" where it is for the user to state."""

    name: str
    file: Path
    licence: str = ""

    def sha256(self) -> str:
        """As `sha256_of`."""
        return sha256_of(self.file)

    def rows(self, limit: int | None = None) -> Iterator[str]:
        """The SMILES in the file's order, as they stand there; the first `limit` of them.

        A CSV or TSV has a header with a column `SMILES`, or `canonical_smiles`, in whatever case. Another file whose
        first line names one of these among others, with tabs between them (as those of ChEMBL and ZINC), is a TSV too;
        else the text behind the first white space of a line is a name.

        Raises:
            UsageError: the file cannot be read as text, or its header names no such column.
        """
        try:
            with opened(self.file) as text:
                yield from islice(self._lines(text), limit)
        except (OSError, UnicodeDecodeError, EOFError, csv.Error) as fault:
            raise UsageError(f"{self.file} cannot be read: {fault}") from fault

    def _lines(self, text: IO[str]) -> Iterator[str]:
        kind = Path(self.file.name.removesuffix(".gz")).suffix.lower()
        lines = iter(text)
        first = next(lines, "")
        names = [name.strip().lower() for name in first.split("\t")]
        is_table = kind in (".csv", ".tsv") or (len(names) > 1 and not set(_COLUMNS).isdisjoint(names))
        lines = chain([first], lines) if first else lines
        if not is_table:
            yield from ((line.split(maxsplit=1) or [""])[0] for line in lines)
            return
        table = csv.reader(lines, delimiter="," if kind == ".csv" else "\t")
        header = [name.strip().lower() for name in next(table, [])]
        at = next((header.index(name) for name in _COLUMNS if name in header), None)
        if at is None:
            raise UsageError(f"{self.file}: the header has no column 'smiles', but {', '.join(header) or 'nothing'}")
        yield from (row[at].strip() if at < len(row) else "" for row in table)


def find_source(data: str, licence: str = "") -> SmilesSource:
    """The source that `data` means: one of the named ones, or a path.

    Raises:
        ConfigurationError: the package with the named data is not installed.
        NotFound: neither a name nor a file.
    """
    if data not in _NAMED:
        if not Path(data).is_file():
            raise NotFound(f"no file {data}, and no data set of that name; named ones: {', '.join(_NAMED)}")
        name, known_licence = _CHEMBL
        if not licence and name.fullmatch(Path(data).name):
            licence = known_licence
        return SmilesSource(data, Path(data).resolve(), licence)
    package, version, known_licence, file = _NAMED[data]
    return SmilesSource(data, of_package(data, package, version, file), licence or known_licence)
