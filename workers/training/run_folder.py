"""The folder of a training run belongs to one process at a time, and to one recipe."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import Conflict, UsageError
from schemas.files import write_whole

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_RECIPE = "recipe.json"


@contextmanager
def held(folder: Path, recipe: DataclassInstance) -> Iterator[None]:
    """Hold the folder, which is made if need be, while a run of this recipe goes on or begins there.

    A recipe is a dataclass with `epochs`, which alone may be others than those that the run began with: the schedule
    then ends sooner or later.

    Raises:
        Conflict: another process trains there.
        UsageError: the folder's run has another recipe, or other data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)  # goes with this process, however it ends
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another process trains in {folder}; wait for it, or end it first") from None
        _compare(folder, recipe)
        write_whole(folder / _RECIPE, json.dumps(asdict(recipe), indent=1) + "\n")
        yield
    finally:
        os.close(descriptor)


def _compare(folder: Path, recipe: DataclassInstance) -> None:
    try:
        begun = json.loads((folder / _RECIPE).read_text("utf-8"))
    except FileNotFoundError:
        return
    other = [
        f"{name} {begun.get(name)} (now {value})"
        for name, value in asdict(recipe).items()
        if name != "epochs" and begun.get(name) != value
    ]
    if other:
        raise UsageError(f"{folder} holds a run with {', '.join(other)}; go on with that, or name another folder")
