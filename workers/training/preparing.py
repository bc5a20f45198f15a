"""What the commands that train have in common; torch is first imported by what `make` calls."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import UsageError
from schemas.registration import register
from schemas.registry import NAME
from schemas.settings import load_settings
from workers.devices import Device, find_devices, thread_environment, threads_per_process
from workers.training.product import Product
from workers.training.recipe import HEAD
from workers.training.run_folder import held

if TYPE_CHECKING:
    from workers.training.describing import AnyRecipe, Run


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


def check_width(width: int) -> None:
    """Refuse a width that is no number of whole attention heads.

    Raises:
        UsageError: it is none.
    """
    if width % HEAD:
        raise UsageError(f"--width {width}: give a multiple of {HEAD}, the width of an attention head")


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


def make(output: Path, name: str, recipe: AnyRecipe, train: Callable[[Product], Run]) -> None:
    """Train in the folder, which belongs to this process and recipe meanwhile, and add the model to the registry.

    Raises:
        Conflict, UsageError: as `held`, and whatever `train` raises.
    """
    with held(output, recipe):
        product = Product(output, name)
        file = register(train(product).entry(product), load_settings().models_folder)
    print(f"model '{name}' is trained, in {output}, and registered by {file}")
