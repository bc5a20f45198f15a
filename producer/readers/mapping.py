"""Turns one JSON object into a record: what a line of JSONL and a Python dict have in common.

Molecules and prompts: a SMILES key and an id key. Papers: `title`, `abstract`, and `text` or `sections` (each with
`title` or `heading`, and `text` or `paragraphs`), with identifiers. All other keys are kept as columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from producer.readers.columns import find_column, id_names, text_names
from producer.readers.options import ReadOptions
from producer.validate import check_paper, check_record, check_smiles, check_text, reject
from schemas.errors import RowError
from schemas.items import Content, ContentKind, Molecule, Paper, Prompt, Record, Rejected, Section

_IDENTIFIERS = {
    "doi": "doi",
    "pmid": "pmid",
    "pmcid": "pmcid",
    "licence": "licence",
    "license": "licence",
    "journal": "journal",
    "year": "year",
}
_BLANK_LINE = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")


class _WrongForm(Exception):
    """A key is missing or its value has the wrong type; carries the rejection."""

    def __init__(self, code: RowError, message: str) -> None:
        self.rejected = reject(code, message)


def record_from_mapping(row: Mapping[str, Any], kind: ContentKind, options: ReadOptions) -> Record:
    """The record of one object, whatever it holds: what is wrong with it makes it a rejected one."""
    rest = dict(row)
    custom_id: str | None = None
    content: Content | Rejected
    try:
        custom_id = _custom_id(rest, kind, options)
        if kind is ContentKind.PAPER:
            content = check_paper(_paper(rest), options.row_limit(kind))
        else:
            content = _structure(rest, kind, options)
    except _WrongForm as wrong:
        content = wrong.rejected
    return check_record(Record(content, custom_id, rest or None))


def paragraphs(text: str) -> tuple[str, ...]:
    """The paragraphs of plain text: what blank lines divide, each on one line."""
    whole = (" ".join(part.split()) for part in _BLANK_LINE.split(text.replace("\r\n", "\n")))
    return tuple(part for part in whole if part)


def _custom_id(rest: dict[str, Any], kind: ContentKind, options: ReadOptions) -> str | None:
    key = find_column(rest, id_names(kind) if options.id_column is None else (options.id_column,))
    if key is None:
        return None
    value = rest.pop(key)
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise _WrongForm(RowError.MALFORMED_JSON, f"'{key}' is neither text nor a number")
    return None if value in (None, "") else str(value)


def _structure(rest: dict[str, Any], kind: ContentKind, options: ReadOptions) -> Molecule | Prompt | Rejected:
    names = text_names(kind) if options.smiles_column is None else (options.smiles_column,)
    key = find_column(rest, names)
    smiles = None if key is None else rest.pop(key)
    if smiles is None:
        raise _WrongForm(RowError.MISSING_FIELD, f"the object has no '{names[0]}'")
    if not isinstance(smiles, str):
        raise _WrongForm(RowError.MALFORMED_JSON, f"'{key}' is not text")
    fault = check_text(smiles)
    if fault is not None:
        return fault
    return check_smiles(smiles, Prompt) if kind is ContentKind.PROMPT else check_smiles(smiles, Molecule)


def _paper(rest: dict[str, Any]) -> Paper:
    title = _text(rest, "title")
    abstract = "\n".join(paragraphs(_text(rest, "abstract")))
    listed = rest.pop("sections", None) or []
    if not isinstance(listed, list | tuple):
        raise _WrongForm(RowError.MALFORMED_JSON, "'sections' is not a list")
    body = paragraphs(_text(rest, "text"))
    sections = ([Section("", body)] if body else []) + [_section(part) for part in listed]
    identifiers = {}
    for key, name in _IDENTIFIERS.items():
        if isinstance(rest.get(key), str | int) and not isinstance(rest[key], bool):
            value = str(rest.pop(key)).strip()
            if value:
                identifiers[name] = value
    return Paper(" ".join(title.split()), tuple(sections), abstract, identifiers)


def _section(part: Any) -> Section:
    if isinstance(part, str):
        return Section("", paragraphs(part))
    if not isinstance(part, Mapping):
        raise _WrongForm(RowError.MALFORMED_JSON, "a section is neither text nor an object")
    own = dict(part)
    title = _text(own, "title") or _text(own, "heading")
    listed = own.get("paragraphs") or []
    if not isinstance(listed, list | tuple) or not all(isinstance(paragraph, str) for paragraph in listed):
        raise _WrongForm(RowError.MALFORMED_JSON, "a section's 'paragraphs' is not a list of texts")
    found = (*paragraphs(_text(own, "text")), *(" ".join(paragraph.split()) for paragraph in listed))
    return Section(" ".join(title.split()), found)


def _text(rest: dict[str, Any], key: str) -> str:
    """The text under that key, taken out; empty where the key is absent or null."""
    value = rest.pop(key, None)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _WrongForm(RowError.MALFORMED_JSON, f"'{key}' is not text")
    return value
