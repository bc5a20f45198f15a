"""A paper as a JSON object: what a line of JSONL and a Python dict have in common, for readers and for training.

`title`, `abstract`, and `text` or `sections` (each with `title` or `heading`, and `text` or `paragraphs`), with
identifiers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from schemas.errors import RowError
from schemas.items import Paper, Section

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


class WrongForm(Exception):
    """A key is missing or its value has the wrong type."""

    def __init__(self, code: RowError, message: str) -> None:
        super().__init__(message)
        self.code = code


def take_paper(rest: dict[str, Any]) -> Paper:
    """The paper of an object, whose keys are taken out of it; those that say nothing about a paper are left.

    Raises:
        WrongForm: a value has the wrong type.
    """
    title = _text(rest, "title")
    abstract = "\n".join(paragraphs(_text(rest, "abstract")))
    listed = rest.pop("sections", None) or []
    if not isinstance(listed, list | tuple):
        raise WrongForm(RowError.MALFORMED_JSON, "'sections' is not a list")
    body = paragraphs(_text(rest, "text"))
    sections = ([Section("", body)] if body else []) + [_section(part) for part in listed]
    identifiers = {}
    for key, name in _IDENTIFIERS.items():
        if isinstance(rest.get(key), str | int) and not isinstance(rest[key], bool):
            value = str(rest.pop(key)).strip()
            if value:
                identifiers[name] = value
    return Paper(" ".join(title.split()), tuple(sections), abstract, identifiers)


def paragraphs(text: str) -> tuple[str, ...]:
    """The paragraphs of plain text: what blank lines divide, each on one line."""
    whole = (" ".join(part.split()) for part in _BLANK_LINE.split(text.replace("\r\n", "\n")))
    return tuple(part for part in whole if part)


def _section(part: Any) -> Section:
    if isinstance(part, str):
        return Section("", paragraphs(part))
    if not isinstance(part, Mapping):
        raise WrongForm(RowError.MALFORMED_JSON, "a section is neither text nor an object")
    own = dict(part)
    title = _text(own, "title") or _text(own, "heading")
    listed = own.get("paragraphs") or []
    if not isinstance(listed, list | tuple) or not all(isinstance(paragraph, str) for paragraph in listed):
        raise WrongForm(RowError.MALFORMED_JSON, "a section's 'paragraphs' is not a list of texts")
    found = (*paragraphs(_text(own, "text")), *(" ".join(paragraph.split()) for paragraph in listed))
    return Section(" ".join(title.split()), found)


def _text(rest: dict[str, Any], key: str) -> str:
    """The text under that key, taken out; empty where the key is absent or null."""
    value = rest.pop(key, None)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise WrongForm(RowError.MALFORMED_JSON, f"'{key}' is not text")
    return value
