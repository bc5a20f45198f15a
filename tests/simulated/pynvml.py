"""NVIDIA's management library as a machine with GPUs would answer: first on PYTHONPATH, it stands for the real binding.

`SIMULATED_GPUS` is JSON, an object a GPU: uuid, and if they matter memory and used (bytes), busy (percent), cpus
(numbers), slices (UUIDs of MIG) and lost (it has fallen off the bus). Not set: a machine without the driver.
"""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import Any

NVML_DEVICE_MIG_ENABLE = 1


class NVMLError(Exception):
    """As the binding's own, whose kinds derive from it."""


class NVMLError_NotFound(NVMLError):
    """There is nothing in that place."""


def nvmlInit() -> None:
    if "SIMULATED_GPUS" not in os.environ:
        raise NVMLError("Driver Not Loaded")


def nvmlShutdown() -> None:
    nvmlInit()


def nvmlDeviceGetCount() -> int:
    return len(_gpus())


def nvmlDeviceGetHandleByIndex(index: int) -> dict[str, Any]:
    gpu = _gpus()[index]
    if gpu.get("lost"):
        raise NVMLError("GPU is lost")
    return gpu


def nvmlDeviceGetHandleByUUID(uuid: str) -> dict[str, Any]:
    for index, gpu in enumerate(_gpus()):
        if gpu["uuid"] == uuid:
            return nvmlDeviceGetHandleByIndex(index)
        if uuid in gpu.get("slices", []):
            return nvmlDeviceGetMigDeviceHandleByIndex(gpu, gpu["slices"].index(uuid))
    raise NVMLError_NotFound("Not Found")


def nvmlDeviceGetName(handle: dict[str, Any]) -> str:
    return str(handle.get("name", "Simulated GPU"))


def nvmlDeviceGetUUID(handle: dict[str, Any]) -> str:
    return str(handle["uuid"])


def nvmlDeviceGetMemoryInfo(handle: dict[str, Any]) -> Any:
    total, used = handle.get("memory", 80 << 30), handle.get("used", 0)
    return SimpleNamespace(total=total, used=used, free=total - used)


def nvmlDeviceGetUtilizationRates(handle: dict[str, Any]) -> Any:
    if handle["uuid"].startswith("MIG-"):
        raise NVMLError("Not Supported")
    return SimpleNamespace(gpu=handle.get("busy", 0))


def nvmlDeviceGetMigMode(handle: dict[str, Any]) -> tuple[int, int]:
    if "slices" not in handle:
        raise NVMLError("Not Supported")
    return NVML_DEVICE_MIG_ENABLE, NVML_DEVICE_MIG_ENABLE


def nvmlDeviceGetMaxMigDeviceCount(handle: dict[str, Any]) -> int:
    return 7


def nvmlDeviceGetMigDeviceHandleByIndex(handle: dict[str, Any], index: int) -> dict[str, Any]:
    if index >= len(handle["slices"]):
        raise NVMLError_NotFound("Not Found")
    return {"uuid": handle["slices"][index], "memory": 10 << 30}


def nvmlDeviceGetCpuAffinity(handle: dict[str, Any], words: int) -> list[int]:
    if "cpus" not in handle:
        raise NVMLError("Not Supported")
    return [sum(1 << cpu % 64 for cpu in handle["cpus"] if cpu // 64 == word) for word in range(words)]


def _gpus() -> list[dict[str, Any]]:
    return list(json.loads(os.environ["SIMULATED_GPUS"]))
