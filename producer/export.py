"""Writing a job's rows as CSV, JSON lines or Parquet: streamed in groups, and put in place only when complete.

Numbers that a model computes are 32-bit floats and leave with the digits that tell them apart: `0.1`, not
`0.10000000149011612`. What the user's own columns held leaves unchanged.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from producer.export_types import FLOAT, TEXT, Columns
from schemas.errors import UsageError

ROW_GROUP = 50_000  # rows in a Parquet row group, unless they are long
_ROW_GROUP_BYTES = 128 << 20
_ROWS, _CELLS = 5_000, 250_000  # rows, and values, that are held as Python objects at a time

Row = dict[str, Any]
Rows = Callable[[], Iterator[Row]]


class Format(StrEnum):
    """The forms in which results leave."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


_OTHER_ENDINGS = {".ndjson": Format.JSONL, ".pq": Format.PARQUET}


def format_of(path: Path) -> Format:
    """The format that a file's ending names.

    Raises:
        UsageError: it names none.
    """
    try:
        ending = path.suffix.lower()
        return _OTHER_ENDINGS.get(ending) or Format(ending[1:])
    except ValueError:
        known = ", ".join(f".{form.value}" for form in Format)
        raise UsageError(f"{path.name}: the ending tells no format; use one of {known}, or --format") from None


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends well, and leaves no trace when it raises.

    A pipe or a device is written to as it is.

    Raises:
        UsageError: the folder does not exist or may not be written to, or the disk is full.
    """
    target = path.resolve()
    try:
        if target.exists() and not target.is_file():
            if target.is_dir():
                raise UsageError(f"{path} is a folder; name a file in it")
            with target.open("wb") as file:
                yield file
            return
        unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with unfinished.open("w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
    except BrokenPipeError:
        raise
    except OSError as fault:
        raise UsageError(f"cannot write {path}: {fault.strerror or fault}") from fault


def write(
    rows: Rows, columns: Columns, target: BinaryIO, form: Format, on_progress: Callable[[int], None] | None = None
) -> int:
    """Write all rows in the order they come, and return how many there were.

    `rows` is called again if a user's column turns out to be of another kind than its first values, which only
    Parquet minds; `target` must allow going back to its beginning then. `on_progress` gets the number of rows so far.
    """
    group = max(1, min(_ROWS, _CELLS // max(1, len(columns))))
    if form is Format.PARQUET:
        return _write_parquet(rows, columns, target, group, on_progress)
    if form is Format.CSV:
        heading = io.StringIO(newline="")
        csv.writer(heading, lineterminator="\n").writerow(columns)
        target.write(heading.getvalue().encode())
    encode = _csv if form is Format.CSV else _jsonl
    written = 0
    for part in _groups(rows(), group):
        target.write(encode(part, columns))
        written += len(part)
        if on_progress:
            on_progress(written)
    return written


def write_smiles(rows: Iterable[Row], target: BinaryIO, job: int) -> int:
    """Write generated molecules as a SMILES file: canonical SMILES, and job and row as the molecule's name."""
    written = 0
    for row in rows:
        target.write(f"{row['canonical']}\t{job}-{row['row']}\n".encode())
        written += 1
    return written


def _groups(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    left = iter(rows)
    while part := list(islice(left, size)):
        yield part


def _csv(rows: Sequence[Row], columns: Columns) -> bytes:
    buffer = io.StringIO(newline="")
    cells = [_csv_cells([row[name] for row in rows], kind) for name, kind in columns.items()]
    csv.writer(buffer, lineterminator="\n").writerows(zip(*cells, strict=True))
    return buffer.getvalue().encode()


def _csv_cells(values: list[Any], kind: pa.DataType | None) -> list[Any]:
    if kind == FLOAT:
        return pa.array(values, FLOAT).cast(TEXT).to_pylist()  # type: ignore[no-any-return]
    if kind is None or pa.types.is_nested(kind) or pa.types.is_boolean(kind):
        return [_as_text(value) for value in values]
    return values


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _jsonl(rows: Sequence[Row], columns: Columns) -> bytes:
    floats = {
        name: pa.array([row[name] for row in rows], FLOAT).cast(TEXT).cast(pa.float64()).to_pylist()
        for name, kind in columns.items()
        if kind == FLOAT
    }
    lines = []
    for place, row in enumerate(rows):
        shown = {name: floats[name][place] if name in floats else row[name] for name in columns}
        for name in floats:
            if shown[name] is not None and not math.isfinite(shown[name]):
                shown[name] = None  # JSON has no word for it
        lines.append(json.dumps(shown, ensure_ascii=False, separators=(",", ":")))
    return ("\n".join(lines) + "\n").encode()


def _write_parquet(
    rows: Rows, columns: Columns, target: BinaryIO, group: int, on_progress: Callable[[int], None] | None
) -> int:
    """Types of the user's columns are taken from the first group; one that later breaks its type becomes text."""
    texts: set[str] = set()
    while True:
        target.seek(0)
        target.truncate()
        parts = _groups(rows(), group)
        first = next(parts, [])
        schema = pa.schema(
            [(name, TEXT if name in texts else kind or _guess(first, name)) for name, kind in columns.items()]
        )
        tables = (_table(part, columns, schema) for part in chain([first], parts))
        try:
            return _write_row_groups(tables, schema, target, on_progress)
        except _OtherKind as found:
            texts.add(found.column)


def _write_row_groups(
    tables: Iterator[pa.Table], schema: pa.Schema, target: BinaryIO, on_progress: Callable[[int], None] | None
) -> int:
    import pyarrow.parquet as pq

    written = 0
    held: list[pa.Table] = []
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for table in tables:
            held.append(table)
            written += table.num_rows
            if sum(one.num_rows for one in held) >= ROW_GROUP or sum(one.nbytes for one in held) >= _ROW_GROUP_BYTES:
                writer.write_table(pa.concat_tables(held), row_group_size=ROW_GROUP)
                held = []
            if on_progress:
                on_progress(written)
        if held:
            writer.write_table(pa.concat_tables(held), row_group_size=ROW_GROUP)
    return written


class _OtherKind(Exception):
    """A user's column holds something that its first values did not announce."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column


def _table(rows: Sequence[Row], columns: Columns, schema: pa.Schema) -> pa.Table:
    arrays = []
    for field in schema:
        values = [row[field.name] for row in rows]
        if columns[field.name] is None:
            if field.type == TEXT:
                values = [_as_text(value) for value in values]
            elif not all(value is None or _kind_of(value) in _WITHIN[field.type] for value in values):
                raise _OtherKind(field.name)
        arrays.append(pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


# A long integer has no exact form as a float, so it does not go together with floats.
_WITHIN: dict[pa.DataType, set[str]] = {
    pa.bool_(): {"bool"},
    pa.int64(): {"integer", "long"},
    pa.float64(): {"integer", "float"},
}


def _kind_of(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int() if -(2**53) <= value <= 2**53:
            return "integer"
        case int() if -(2**63) <= value < 2**63:
            return "long"
        case float():
            return "float"
        case _:
            return "other"


def _guess(rows: Sequence[Row], name: str) -> pa.DataType:
    kinds = {_kind_of(value) for row in rows if (value := row[name]) is not None}
    return next((kind for kind, within in _WITHIN.items() if kinds and kinds <= within), TEXT)
