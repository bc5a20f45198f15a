"""Tables with a header line (`.csv`, `.tsv`): a SMILES column, perhaps an id column, all others kept as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from producer.readers.columns import find_column, id_names, text_names
from producer.readers.lines import lines
from producer.readers.options import ReadOptions
from producer.readers.quoting import RowSplitter
from producer.validate import MAX_CUSTOM_ID, check_custom_id, check_smiles, excerpt
from schemas.errors import UsageError
from schemas.items import ContentKind, Molecule, Prompt, Record, Rejected

_SPELT = {"tab": "\t", "\\t": "\t"}  # as a shell lets one write them


def read_csv(stream: BinaryIO, kind: ContentKind, options: ReadOptions) -> Iterator[Record]:
    """The rows of a table whose fields are separated by commas, or by the delimiter of the options.

    Raises:
        UsageError: there is no header, or it has no column of SMILES; the message lists the columns.
    """
    return _read(stream, kind, options, ",")


def read_tsv(stream: BinaryIO, kind: ContentKind, options: ReadOptions) -> Iterator[Record]:
    """The rows of a table whose fields are separated by tabs, or by the delimiter of the options.

    Raises:
        UsageError: as `read_csv`.
    """
    return _read(stream, kind, options, "\t")


def _read(stream: BinaryIO, kind: ContentKind, options: ReadOptions, usual: str) -> Iterator[Record]:
    limit = options.row_limit(kind)
    splitter = RowSplitter(lines(stream, limit), _delimiter(options.delimiter or usual), limit)
    names = _names(next(splitter.rows(), None))
    smiles_name = _column(names, options.smiles_column, text_names(kind))
    if smiles_name is None:
        raise UsageError(
            f"the table has no column '{options.smiles_column or 'smiles'}'; name its column of SMILES "
            f"(--smiles-column), or the delimiter if the columns run together. Columns: {_listed(names)}"
        )
    id_name = _column(names, options.id_column, id_names(kind))
    if id_name is None and options.id_column is not None:
        raise UsageError(f"the table has no column '{options.id_column}'. Columns: {_listed(names)}")
    if id_name == smiles_name:
        id_name = None
    make: type[Molecule | Prompt] = Prompt if kind is ContentKind.PROMPT else Molecule
    for fields in splitter.rows(len(names), names.index(smiles_name)):
        if isinstance(fields, Rejected):
            yield Record(fields)
            continue
        columns = dict(zip(names, fields, strict=True))
        content = check_smiles(columns.pop(smiles_name), make)
        custom_id = None
        if id_name is not None:
            # Exports have a `custom_id` of their own; under any other name the user expects to find it again.
            custom_id = (columns.pop(id_name) if id_name == "custom_id" else columns[id_name]) or None
            if custom_id is not None and len(custom_id) > MAX_CUSTOM_ID:
                content, custom_id = check_custom_id(custom_id) or content, None
                columns.pop(id_name, None)
        yield Record(content, custom_id, columns or None)


def _delimiter(named: str) -> str:
    delimiter = _SPELT.get(named, named)
    if len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise UsageError(f"the delimiter must be one character, not {named!r}")
    return delimiter


def _names(header: list[str] | Rejected | None) -> list[str]:
    """The column names, each of them once: a repeated one gets a number and an empty one its place, as in pandas."""
    if header is None:
        raise UsageError("the table is empty: a header line with the columns' names is needed")
    if isinstance(header, Rejected):
        raise UsageError(f"the table's header cannot be read: {header.message}")
    names: dict[str, None] = {}
    for place, given in enumerate(header):
        base = name = given or f"Unnamed: {place}"
        repeat = 0
        while name in names:
            repeat += 1
            name = f"{base}.{repeat}"
        names[name] = None
    return list(names)


def _column(names: list[str], asked: str | None, usual: tuple[str, ...]) -> str | None:
    return find_column(names, usual if asked is None else (asked,))


def _listed(names: list[str]) -> str:
    return excerpt(", ".join(names))
