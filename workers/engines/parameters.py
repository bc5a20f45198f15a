"""A job's parameters, checked against what its engine knows."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from schemas.errors import UsageError

Parameters = TypeVar("Parameters", bound=BaseModel)

_last: list[tuple[dict[str, Any], BaseModel]] = []  # at most one


def checked(known: type[Parameters], parameters: dict[str, Any]) -> Parameters:
    """The parameters as a value of `known`. The rows of a batch share one dict, never changed: it is read once.

    Raises:
        UsageError: one is unknown, of the wrong form or out of its range; all of the job's rows would share it.
    """
    for seen, made in _last:
        if seen is parameters and isinstance(made, known):
            return made
    try:
        checked_now = known(**parameters)
    except ValidationError as fault:
        first = fault.errors()[0]
        raise UsageError(f"parameter '{'.'.join(map(str, first['loc']))}': {first['msg']}") from fault
    _last[:] = [(parameters, checked_now)]  # in one step, for the other threads
    return checked_now
