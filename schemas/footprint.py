"""How much memory a model's weights will take, told from its files before it is loaded."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

from schemas.ensemble import members
from schemas.registry import ModelEntry
from schemas.weight_files import find

WIDTHS = {"fp32": 4, "bf16": 2, "int8": 4}
"""Bytes that a number with a fraction takes in memory, whatever it takes on the disk."""

MOST_HEAD = 100_000_000  # bytes; safetensors itself refuses more

PICKLED = ".pt"  # read only from pinned packages


def weights_bytes(entry: ModelEntry, *, fetch: bool = True) -> int:
    """Bytes of the weights once loaded in the entry's precision; 0 for an engine without any. `fetch` as in `find`.

    Raises:
        ModelUnavailable: the weights are missing, or an ensemble's list of members is broken.
    """
    weights = entry.weights
    if weights.path is None and weights.package is None and weights.hub is None:
        return 0
    folder = find(weights, fetch=fetch)
    parts = [] if folder.is_file() else members(folder)
    files = [folder] if folder.is_file() else [file for part in parts for file in part.glob("*.safetensors")]
    pickled = [folder / name for name in weights.sha256 if name.endswith(PICKLED)]
    width = WIDTHS[entry.precision]
    return sum(_in_memory(file, width) for file in files) + sum(file.stat().st_size for file in pickled)


def _in_memory(file: Path, width: int) -> int:
    """What the tensors of a safetensors file take: their number and kind stand at its head."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            head = json.loads(stream.read(min(length, MOST_HEAD)))
        return sum(_bytes(tensor, width) for name, tensor in head.items() if name != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError):  # broken: loading it will say so
        return file.stat().st_size


def _bytes(tensor: dict[str, Any], width: int) -> int:
    begin, end = tensor["data_offsets"]
    is_float = tensor["dtype"].startswith(("F", "BF"))
    return int(prod(tensor["shape"]) * width if is_float else end - begin)
