"""An ensemble as a folder: a list of its members, and for each a folder that is a checkpoint by itself.

The list is a file of its own, so that it is pinned by its hash like the weights, and no folder beside them is taken for
a member.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from schemas.errors import ModelUnavailable

FILE = "ensemble.json"
_NAME = re.compile(r"[A-Za-z0-9_-]+")  # of a folder, and no way out of this one


def members(folder: Path) -> list[Path]:
    """The folders of a model's members, in their order; the folder itself where it is no ensemble.

    Raises:
        ModelUnavailable: the list cannot be read, or names something else than two or more folders.
    """
    listed = folder / FILE
    if not listed.is_file():
        return [folder]
    try:
        names = json.loads(listed.read_text("utf-8"))["members"]
        if len(set(names)) == len(names) > 1 and all(_NAME.fullmatch(name) for name in names):
            return [folder / name for name in names]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise ModelUnavailable(f"{listed} cannot be read as a list of members: {fault}") from fault
    raise ModelUnavailable(f"{listed} must name two or more folders beside it, each once")


def as_json(names: Sequence[str]) -> str:
    """The list of members as its file has it."""
    return json.dumps({"members": list(names)}) + "\n"
