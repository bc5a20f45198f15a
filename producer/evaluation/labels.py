"""Labels that came in as columns of a corpus: which column belongs to which endpoint, and what its cells say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from schemas.errors import UsageError
from schemas.registry import Endpoint

_WORDS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "active": 1.0, "inactive": 0.0}
_MISSING = frozenset({"", "na", "n/a", "nan", "none", "null", "-"})


def matched(endpoints: Iterable[Endpoint], columns: Iterable[str], asked: Mapping[str, str]) -> dict[Endpoint, str]:
    """The label column of each endpoint that has one: those asked for, or all that are named alike.

    Raises:
        UsageError: an endpoint or column that was asked for does not exist, or none is named alike.
    """
    known = {endpoint.name: endpoint for endpoint in endpoints}
    there = list(columns)
    has = f"the corpus has the columns: {', '.join(there) or '(none)'}"
    for endpoint, column in asked.items():
        if endpoint not in known:
            raise UsageError(f"the model has no endpoint '{endpoint}'; it has: {', '.join(known)}")
        if column not in there:
            raise UsageError(f"no column '{column}'; {has}")
    found = {known[name]: column for name, column in asked.items()}
    if not found:
        plain = {column.casefold(): column for column in reversed(there)}
        found = {one: plain[name.casefold()] for name, one in known.items() if name.casefold() in plain}
    if not found:
        raise UsageError(
            f"no column is named like an endpoint ({', '.join(known)}); {has}. Name them: --label 'ENDPOINT=COLUMN'"
        )
    return found


def number(cell: Any, endpoint: Endpoint, column: str) -> float:
    """What a cell says; NaN for a label that is missing.

    Raises:
        UsageError: it is no number, or the endpoint is a probability and it is neither 0 nor 1.
    """
    if cell is None or (isinstance(cell, str) and cell.strip().casefold() in _MISSING):
        return math.nan
    try:
        value = (
            _WORDS[cell.strip().casefold()]
            if isinstance(cell, str) and cell.strip().casefold() in _WORDS
            else float(cell)
        )
    except (TypeError, ValueError):
        raise UsageError(f"column '{column}' holds {cell!r}, which is no number") from None
    if endpoint.kind == "probability" and value not in (0.0, 1.0) and not math.isnan(value):
        raise UsageError(
            f"column '{column}' holds {cell!r}, but '{endpoint.name}' is a probability: its labels are 0 and 1"
        )
    return value
