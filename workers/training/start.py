"""What every `sciqueue train` settles before torch is imported: the model's name, its device, the threads."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path

from schemas.errors import UsageError
from schemas.registry import NAME
from workers.devices import parse_devices, threads_per_process


class Precision(StrEnum):
    """What a forward pass is computed in; weights and their updates stay in fp32."""

    FP32 = "fp32"
    BF16 = "bf16"


def name_of(name: str | None, output: Path) -> str:
    """The model's name: the one that is given, or the folder's.

    Raises:
        UsageError: no model can have it.
    """
    name = name or output.resolve().name
    if not re.fullmatch(NAME, name):
        raise UsageError(
            f"'{name}' is no name for a model: give --name in lower-case letters, digits, '.', '_' and '-'"
        )
    return name


def take_device(device: str, threads: int | None) -> str:
    """Bind this process, which has not imported torch yet, to a device and a number of threads; `cpu` or `cuda`.

    Raises:
        UsageError: more than one device.
    """
    places = parse_devices(device)
    if len(places) > 1:
        raise UsageError(f"--device '{device}': a run takes one device")
    # Threads that wait sleep: beside other work, spinning ones hold the cores that the others need to get on
    # (48 molecules/s instead of 154 on two busy cores).
    os.environ.update(places[0].environment)
    os.environ["OMP_NUM_THREADS"] = str(threads_per_process(1, threads))
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    return places[0].torch
