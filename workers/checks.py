"""What `sciqueue doctor` finds out about devices and models."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec

from schemas.doctor import Check
from schemas.errors import SciqueueError
from schemas.registry import load_registry
from schemas.settings import Settings
from workers.weights import locate


def checks(settings: Settings) -> Iterator[Check]:
    """Devices, and each model's weights."""
    yield _devices()
    try:
        registry = load_registry(*settings.registry_files)
    except SciqueueError as fault:
        yield Check("models", False, "the registry cannot be read", str(fault))
        return
    for entry in registry:
        if entry.engine == "fake":
            continue
        try:
            locate(entry.weights)
            yield Check(f"model {entry.name}", True, f"{entry.task.value}, weights are in place and unchanged")
        except SciqueueError as fault:
            yield Check(f"model {entry.name}", False, "cannot be loaded", str(fault))


def _devices() -> Check:
    if find_spec("torch") is None:
        return Check("devices", False, "torch is not installed", "install sciqueue as the README says")
    import torch

    cores = len(os.sched_getaffinity(0))
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    found = f"torch {torch.__version__}, {cores} CPU cores, " + (", ".join(gpus) if gpus else "no GPU that torch sees")
    return Check("devices", True, found)
