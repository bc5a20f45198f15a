"""A job's parameters, checked against what its engine knows."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from schemas.errors import UsageError

Parameters = TypeVar("Parameters", bound=BaseModel)


def checked(known: type[Parameters], parameters: dict[str, Any]) -> Parameters:
    """The parameters as a value of `known`.

    Raises:
        UsageError: one is unknown, of the wrong form or out of its range; all of the job's rows would share it.
    """
    try:
        return known(**parameters)
    except ValidationError as fault:
        first = fault.errors()[0]
        raise UsageError(f"parameter '{'.'.join(map(str, first['loc']))}': {first['msg']}") from fault
