"""Turns one JSON object into a record: what a line of JSONL and a Python dict have in common.

Molecules and prompts: a SMILES key and an id key. Papers: as `schemas.paper_mapping` has them. All other keys are kept
as columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from producer.readers.columns import find_column, id_names, text_names
from producer.readers.options import ReadOptions
from producer.validate import check_paper, check_record, check_smiles, check_text, reject
from schemas.errors import RowError
from schemas.items import Content, ContentKind, Molecule, Prompt, Record, Rejected
from schemas.paper_mapping import WrongForm, take_paper


def record_from_mapping(row: Mapping[str, Any], kind: ContentKind, options: ReadOptions) -> Record:
    """The record of one object, whatever it holds: what is wrong with it makes it a rejected one."""
    rest = dict(row)
    custom_id: str | None = None
    content: Content | Rejected
    try:
        custom_id = _custom_id(rest, kind, options)
        if kind is ContentKind.PAPER:
            content = check_paper(take_paper(rest), options.row_limit(kind))
        else:
            content = _structure(rest, kind, options)
    except WrongForm as wrong:
        content = reject(wrong.code, str(wrong))
    return check_record(Record(content, custom_id, rest or None))


def _custom_id(rest: dict[str, Any], kind: ContentKind, options: ReadOptions) -> str | None:
    key = find_column(rest, id_names(kind) if options.id_column is None else (options.id_column,))
    if key is None:
        return None
    value = rest.pop(key)
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise WrongForm(RowError.MALFORMED_JSON, f"'{key}' is neither text nor a number")
    return None if value in (None, "") else str(value)


def _structure(rest: dict[str, Any], kind: ContentKind, options: ReadOptions) -> Molecule | Prompt | Rejected:
    names = text_names(kind) if options.smiles_column is None else (options.smiles_column,)
    key = find_column(rest, names)
    smiles = None if key is None else rest.pop(key)
    if smiles is None:
        raise WrongForm(RowError.MISSING_FIELD, f"the object has no '{names[0]}'")
    if not isinstance(smiles, str):
        raise WrongForm(RowError.MALFORMED_JSON, f"'{key}' is not text")
    fault = check_text(smiles)
    if fault is not None:
        return fault
    return check_smiles(smiles, Prompt) if kind is ContentKind.PROMPT else check_smiles(smiles, Molecule)
