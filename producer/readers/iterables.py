"""Python objects as a source: what a caller has in memory or generates, one record each."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from producer.readers.mapping import record_from_mapping
from producer.readers.options import ReadOptions
from producer.validate import MAX_DEPTH, check_paper, check_record, check_smiles, check_text, reject
from schemas.errors import RowError, UsageError
from schemas.items import Content, ContentKind, Molecule, Paper, Prompt, Record, Rejected, Section
from schemas.paper_mapping import paragraphs

_PAIR = 2


def records_from(iterable: Iterable[Any], kind: ContentKind, options: ReadOptions | None = None) -> Iterator[Record]:
    """A record for each object: text, a dict as in JSONL, a (custom_id, object) pair, content, or a `Record`.

    Text is a SMILES, or a paper's plain text; an empty text is a prompt for free generation. An object that is none
    of these becomes a rejected row. Values of a dict that JSON cannot hold are kept as text; NaN, as pandas writes
    for a missing value, becomes None.

    Raises:
        UsageError: the iterable is itself a text or a dict, whose parts are surely not meant.
    """
    if isinstance(iterable, str | bytes | Mapping):
        raise UsageError(f"rows are expected, not a single {type(iterable).__name__}; put it in a list")
    options = options or ReadOptions()
    for given in iterable:
        yield _record(given, kind, options)


def _record(given: Any, kind: ContentKind, options: ReadOptions) -> Record:
    if isinstance(given, Record):
        content = given.content
        if not isinstance(content, Rejected):
            content = _content(content, kind, options)
        return check_record(replace(given, content=content))
    if isinstance(given, Mapping):
        return record_from_mapping(_jsonable(given), kind, options)
    if isinstance(given, tuple) and len(given) == _PAIR and isinstance(given[0], str | numbers.Integral):
        inner = _record(given[1], kind, options)
        return check_record(replace(inner, custom_id=str(given[0]) or None))
    return Record(_content(given, kind, options))


def _content(given: Any, kind: ContentKind, options: ReadOptions) -> Content | Rejected:
    if kind is ContentKind.PAPER:
        if isinstance(given, str):
            given = Paper("", (Section("", paragraphs(given)),))
        if isinstance(given, Paper):
            return check_paper(given, options.row_limit(kind))
    else:
        own = Prompt if kind is ContentKind.PROMPT else Molecule
        smiles = given.smiles if isinstance(given, own) else given
        if isinstance(smiles, str):
            return _structure(smiles, kind)
    return reject(RowError.UNSUPPORTED, f"a {type(given).__name__} is no {kind}")


def _structure(smiles: str, kind: ContentKind) -> Molecule | Prompt | Rejected:
    if (fault := check_text(smiles)) is not None:
        return fault
    if kind is ContentKind.MOLECULE:
        return check_smiles(smiles, Molecule)
    return check_smiles(smiles, Prompt) if smiles.strip() else Prompt()


def _jsonable(value: Any, depth: int = 0) -> Any:
    """The value as JSON has it; past the depth that columns may have, as it is, to be rejected later."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if depth <= MAX_DEPTH and isinstance(value, Mapping):
        return {str(key): _jsonable(part, depth + 1) for key, part in value.items()}
    if depth <= MAX_DEPTH and isinstance(value, list | tuple):
        return [_jsonable(part, depth + 1) for part in value]
    return value if isinstance(value, dict | list | tuple) else str(value)
