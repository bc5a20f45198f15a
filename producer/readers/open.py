"""The one way in: a source, whatever its form, as a lazy stream of records.

The order is the same at every reading, so that a load that was cut short can be continued by position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from producer.readers.archive import read_archive
from producer.readers.delimited import read_csv, read_tsv
from producer.readers.documents import read_document
from producer.readers.formats import Format
from producer.readers.jsonl import read_jsonl
from producer.readers.options import ReadOptions
from producer.readers.smiles import read_smiles
from producer.readers.sources import SourceFile, files_of
from producer.readers.streams import open_stream
from schemas.errors import UsageError
from schemas.items import ContentKind, Record

_BY_LINE: dict[Format, Callable[[BinaryIO, ContentKind, ReadOptions], Iterator[Record]]] = {
    Format.SMILES: read_smiles,
    Format.TEXT: read_smiles,
    Format.CSV: read_csv,
    Format.TSV: read_tsv,
    Format.JSONL: read_jsonl,
}


def read(source: str | Path, *, kind: ContentKind, options: ReadOptions | None = None) -> Iterator[Record]:
    """The rows of a file, a folder, a tar archive of papers, or standard input (`-`), bad rows among them.

    Memory is bounded by the longest row that the options allow, however long the source. Blank lines are no rows.

    Raises (while iterating; the rows before are good):
        NotFound: the source does not exist.
        UsageError: its format or columns are not known, it cannot be read to its end, or it expands past a limit.
    """
    options = options or ReadOptions()
    for file in files_of(source, kind, options):
        try:
            yield from _read_file(file, kind, options)
        except OSError as fault:
            raise UsageError(f"{file.name}: cannot be read to its end: {fault.strerror or fault}") from fault
        except UsageError as fault:
            raise UsageError(f"{file.name}: {fault}") from fault


def _read_file(file: SourceFile, kind: ContentKind, options: ReadOptions) -> Iterator[Record]:
    form = file.packing.format
    if form is None:
        raise UsageError("its format is not known; name it (--format)")
    if kind is ContentKind.PAPER and form in (Format.JATS, Format.TEXT):
        yield from read_document(file, form, options)
        return
    with open_stream(file.path, file.packing.compression, options) as stream:
        if form is Format.TAR:
            yield from read_archive(stream, options)
        else:
            yield from _BY_LINE[form](stream, kind, options)
