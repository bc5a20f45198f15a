"""Files that hold a whole paper: JATS XML and plain text.

A paper that cannot be read is a rejected row, since the others beside it in a folder are no worse for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from producer.readers.formats import Format
from producer.readers.jats import parse_articles
from producer.readers.options import ReadOptions
from producer.readers.sources import SourceFile, storable_name
from producer.readers.streams import open_stream
from producer.validate import MAX_CUSTOM_ID, check_paper, check_text, reject
from schemas.errors import RowError, SciqueueError
from schemas.items import ContentKind, Paper, Record, Rejected, Section
from schemas.paper_mapping import paragraphs

_UNREADABLE = {Format.JATS: RowError.MALFORMED_XML, Format.TEXT: RowError.EMPTY_TEXT}


def read_document(file: SourceFile, form: Format, options: ReadOptions) -> Iterator[Record]:
    """The paper in a file, or the papers of a set of articles; `custom_id` is the file's name."""
    limit = options.row_limit(ContentKind.PAPER)
    try:
        with open_stream(file.path, file.packing.compression, options) as stream:
            data = stream.read(limit + 1)
    except (OSError, SciqueueError) as fault:
        unreadable = reject(_UNREADABLE[form], f"the file cannot be read: {fault}")
        yield Record(unreadable, row_name(file.name))
        return
    yield from papers_in(data, form, file.name, limit)


def papers_in(data: bytes, form: Format, name: str, limit: int) -> Iterator[Record]:
    """The papers in a file's bytes. Later articles of one file have their number in `custom_id`: `set.xml#2`."""
    found: Iterator[Paper | Rejected]
    if len(data) > limit:
        found = iter((oversized(limit),))
    elif form is Format.TEXT:
        found = iter((_plain(data, limit),))
    else:
        found = parse_articles(data, limit)
    for number, paper in enumerate(found, 1):
        yield Record(paper, row_name(name if number == 1 else f"{name}#{number}"))


def oversized(limit: int) -> Rejected:
    """The rejection of a file that is longer than `limit` bytes."""
    return reject(RowError.OVERSIZED, f"the file has more than {limit} bytes")


def row_name(name: str) -> str:
    """A file's name as a `custom_id`; of an endless path the end is kept, which tells files apart."""
    return storable_name(name)[-MAX_CUSTOM_ID:]


def _plain(data: bytes, limit: int) -> Paper | Rejected:
    text = data.decode("utf-8-sig", "surrogateescape")
    return check_text(text) or check_paper(Paper("", (Section("", paragraphs(text)),)), limit)
