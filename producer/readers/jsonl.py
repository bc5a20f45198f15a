"""JSON lines (`.jsonl`, `.ndjson`): one object a line, for molecules, prompts and papers alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NoReturn

from producer.readers.lines import lines
from producer.readers.mapping import record_from_mapping
from producer.readers.options import ReadOptions
from producer.validate import check_text, reject
from schemas.errors import RowError
from schemas.items import ContentKind, Record, Rejected


def read_jsonl(stream: BinaryIO, kind: ContentKind, options: ReadOptions) -> Iterator[Record]:
    """The objects of a JSONL file; blank lines are skipped."""
    decode = json.JSONDecoder(parse_constant=_refuse).decode
    for line in lines(stream, options.row_limit(kind)):
        if isinstance(line, Rejected):
            yield Record(line)
        elif not line.isspace():
            yield _record(line, decode, kind, options)


def _record(line: str, decode: Callable[[str], Any], kind: ContentKind, options: ReadOptions) -> Record:
    if (fault := check_text(line)) is not None:
        return Record(fault)
    try:
        row = decode(line)
    except RecursionError:
        return Record(reject(RowError.MALFORMED_JSON, "the values are nested too deep", line))
    except ValueError as wrong:  # json's own error, a refused constant, or an integer of thousands of digits
        return Record(reject(RowError.MALFORMED_JSON, str(wrong), line))
    if not isinstance(row, dict):
        return Record(reject(RowError.MALFORMED_JSON, "the line is not a JSON object", line))
    record = record_from_mapping(row, kind, options)
    if isinstance(record.content, Rejected) and not record.content.excerpt:
        content = reject(record.content.code, record.content.message, line)
        return Record(content, record.custom_id, record.columns)
    return record


def _refuse(constant: str) -> NoReturn:
    """JSON knows neither NaN nor infinity, and PostgreSQL's `jsonb` refuses them."""
    raise ValueError(f"{constant} is not JSON")
