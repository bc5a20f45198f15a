"""What the commands that train have in common before torch is imported."""

from __future__ import annotations

import os
import re
from enum import StrEnum
from pathlib import Path

from schemas.errors import UsageError
from schemas.registry import NAME
from workers.devices import Device, find_devices, thread_environment, threads_per_process


class Precision(StrEnum):
    """What a forward pass is computed in; weights and their updates stay in fp32."""

    FP32 = "fp32"
    BF16 = "bf16"


def model_name(output: Path, name: str | None) -> str:
    """The model's name: the one given, or the folder's.

    Raises:
        UsageError: no model can have it.
    """
    name = name or output.resolve().name
    if not re.fullmatch(NAME, name):
        raise UsageError(
            f"'{name}' is no name for a model: give --name in lower-case letters, digits, '.', '_' and '-'"
        )
    return name


def take_device(device: str, threads: int | None) -> Device:
    """Make this process one that trains on a device; torch must not be imported yet.

    Threads that wait sleep: beside other work, spinning ones hold the cores that the others need to get on
    (48 molecules/s instead of 154 on two busy cores).

    Raises:
        UsageError: it is not one device.
    """
    places = find_devices(device)
    if len(places) > 1:
        raise UsageError(f"--device '{device}': a run takes one device")
    os.environ.update(places[0].environment)
    os.environ.update(thread_environment(threads_per_process(1, threads)))
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    return places[0]
