"""What a row must satisfy to be stored and computed on, as pure functions that every reader shares.

PostgreSQL stores neither a NUL nor half of a surrogate pair, and JSON has no word for infinity, so a row that
holds one is rejected here rather than failing the load of all rows around it. Chemistry is not judged: RDKit
parses on a worker.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, TypeVar

from schemas.errors import RowError
from schemas.items import Molecule, Paper, Prompt, Record, Rejected, Section

MAX_SMILES = 64 * 1024  # characters; the longest real SMILES, those of proteins, have some ten thousand
MAX_CUSTOM_ID = 512  # characters; longer ones would not fit a PostgreSQL index entry
MAX_DEPTH = 64  # of nested lists and objects in a column
EXCERPT = 200  # characters

Structure = TypeVar("Structure", bound=Molecule | Prompt)

_MESSAGES = {
    RowError.NUL_BYTE: "the row holds a NUL character",
    RowError.INVALID_UTF8: "the row is not valid UTF-8",
}


def excerpt(found: str) -> str:
    """The beginning of what was found, made safe to store."""
    return found[:EXCERPT].encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")


def reject(code: RowError, message: str, found: str = "") -> Rejected:
    """A rejection whose message and excerpt can be stored, whatever the source held."""
    return Rejected(code, excerpt(message), excerpt(found))


def unstorable(text: str) -> RowError | None:
    """Why PostgreSQL could not store this text, or None where it can.

    Bytes that were no UTF-8 are recognised when they were decoded with `surrogateescape`.
    """
    if "\0" in text:
        return RowError.NUL_BYTE
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return RowError.INVALID_UTF8
    return None


def check_text(text: str) -> Rejected | None:
    """Reject text that cannot be stored."""
    code = unstorable(text)
    return None if code is None else reject(code, _MESSAGES[code], text)


def check_smiles(text: str, make: type[Structure]) -> Structure | Rejected:
    """Turn one field into a molecule or a prompt: one run of characters without white space around or within it.

    `CCO ethanol` is refused: RDKit would take the first word for the molecule and say nothing of the rest.
    """
    words = text.split(None, 1)
    if not words:
        return reject(RowError.EMPTY_SMILES, "the SMILES is empty", text)
    if len(words) > 1:
        return reject(RowError.TRAILING_TEXT, "the SMILES is followed by further text in the same field", text)
    if len(words[0]) > MAX_SMILES:
        return reject(RowError.OVERSIZED, f"the SMILES has more than {MAX_SMILES} characters", text)
    return make(words[0])


def check_paper(paper: Paper, limit: int) -> Paper | Rejected:
    """Require text beyond the title, of at most `limit` characters in all, that can be stored.

    Empty paragraphs and sections are dropped. A paper that has only an abstract gets it as its one section too,
    since `Paper` promises a section with text.
    """
    sections = tuple(
        Section(section.title, kept)
        for section in paper.sections
        if (kept := tuple(paragraph for paragraph in section.paragraphs if paragraph.strip()))
    )
    abstract = paper.abstract.strip()
    if not sections:
        if not abstract:
            return reject(RowError.EMPTY_TEXT, "the paper has neither an abstract nor a section with text", paper.title)
        sections = (Section("Abstract", tuple(filter(str.strip, abstract.split("\n")))),)
    size = len(paper.title) + len(abstract)
    for section in sections:
        size += len(section.title) + sum(map(len, section.paragraphs))
    if size > limit:
        return reject(RowError.OVERSIZED, f"the paper has {size} characters, more than {limit}", paper.title)
    texts = [paper.title, abstract, *paper.identifiers, *paper.identifiers.values()]
    for section in sections:
        texts += (section.title, *section.paragraphs)
    for text in texts:
        if (fault := check_text(text)) is not None:
            return fault
    return replace(paper, abstract=abstract, sections=sections)


def check_columns(value: Any, depth: int = 0) -> Rejected | None:
    """Reject JSON values that `jsonb` cannot hold: unstorable text, infinite numbers, bottomless nesting."""
    if isinstance(value, str):
        return check_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return reject(RowError.MALFORMED_JSON, "a number is infinite or not a number")
    if isinstance(value, dict | list | tuple):
        if depth == MAX_DEPTH:
            return reject(RowError.MALFORMED_JSON, f"values are nested more than {MAX_DEPTH} deep")
        parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        for part in parts:
            if (fault := check_columns(part, depth + 1)) is not None:
                return fault
    return None


def check_custom_id(custom_id: str) -> Rejected | None:
    """Reject a name that cannot be stored or indexed."""
    if len(custom_id) > MAX_CUSTOM_ID:
        return reject(RowError.OVERSIZED, f"the row's id has more than {MAX_CUSTOM_ID} characters", custom_id)
    return check_text(custom_id)


def check_record(record: Record) -> Record:
    """Check a record's name and columns; what cannot be stored is left out of it and the row is rejected."""
    content, custom_id, columns = record.content, record.custom_id, record.columns
    if custom_id is not None and (fault := check_custom_id(custom_id)) is not None:
        content, custom_id = fault, None
    if columns is not None and (fault := check_columns(columns)) is not None:
        content, columns = fault, None
    return record if content is record.content else Record(content, custom_id, columns)
