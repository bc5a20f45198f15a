"""The GPUs of this machine, as NVIDIA's management library (NVML) tells: without CUDA, which would hold memory on each.

Source of the calls: NVML API Reference Guide; of CUDA_VISIBLE_DEVICES' rules: CUDA C++ Programming Guide, environment
variables.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pynvml

log = logging.getLogger(__name__)

_WORD = 64  # bits of the words in which NVML gives processors
_LISTED = 4096  # processors that are asked for at most


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, or one slice of a GPU that is cut into several (MIG). `number` counts GPUs by their place on the bus."""

    number: int
    uuid: str
    model: str
    memory: int  # bytes
    cpus: frozenset[int] = frozenset()  # the processors nearest to it; empty where that is not known
    slice: int | None = None  # counts the slices of one GPU

    @property
    def name(self) -> str:
        """A short name: gpu0, or gpu0.1 for the second slice of the first GPU."""
        return f"gpu{self.number}" if self.slice is None else f"gpu{self.number}.{self.slice}"


@dataclass(frozen=True, slots=True)
class Load:
    """How a GPU stands: bytes of memory in all and free, and the share of the last moment that it computed, 0 to 1.

    None: NVML does not tell it of a slice.
    """

    memory: int
    free: int
    busy: float | None


def find_gpus() -> list[Gpu]:
    """The GPUs, a cut one as its slices; none where NVIDIA's driver is not installed or does not answer.

    A GPU that has fallen off the bus is left out.
    """
    with _nvml() as there:
        if not there:
            return []
        found: list[Gpu] = []
        for number in range(pynvml.nvmlDeviceGetCount()):
            try:
                found += _at(number)
            except pynvml.NVMLError as fault:
                log.warning("gpu%d is left out: %s", number, fault)
        return found


def load_of(uuid: str) -> Load | None:
    """How the GPU or slice with that UUID stands, with what others do on it; None where it cannot be asked."""
    with _nvml() as there:
        if not there:
            return None
        busy = None
        try:
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        except pynvml.NVMLError:  # it has fallen off the bus
            return None
        with suppress(pynvml.NVMLError):  # it is not told of a slice
            busy = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
        return Load(int(memory.total), int(memory.free), busy)


def visible_gpus(gpus: Sequence[Gpu], visible: str | None) -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES leaves, in its order; all of them where it is not set.

    As CUDA reads it: numbers, or UUIDs that may be cut short, and nothing counts from the first that is unknown on. A
    number of a cut GPU stands for its first slice.
    """
    if visible is None:
        return list(gpus)
    left: list[Gpu] = []
    for entry in visible.split(","):
        found = find(gpus, entry.strip())
        if found is None:
            break
        left.append(found)
    return left


def find(gpus: Sequence[Gpu], entry: str) -> Gpu | None:
    """The GPU of that number among those of the machine, or the only one whose UUID begins so."""
    if entry.isdigit():
        return next((gpu for gpu in gpus if gpu.number == int(entry)), None)
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    found = [gpu for gpu in gpus if gpu.uuid.startswith(entry)]
    return found[0] if len(found) == 1 else None


@contextmanager
def _nvml() -> Iterator[bool]:
    """NVML for a while; False where there is none."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _at(number: int) -> list[Gpu]:
    handle = pynvml.nvmlDeviceGetHandleByIndex(number)
    model, cpus = _text(pynvml.nvmlDeviceGetName(handle)), _cpus(handle)
    slices = [Gpu(number, uuid, model, memory, cpus, place) for place, (uuid, memory) in enumerate(_slices(handle))]
    if slices:
        return slices
    return [Gpu(number, _text(pynvml.nvmlDeviceGetUUID(handle)), model, _memory(handle), cpus)]


def _slices(handle: Any) -> Iterator[tuple[str, int]]:
    """UUID and bytes of each MIG slice; none of a GPU that is whole."""
    try:
        current, _ = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError:  # it cannot be cut
        return
    if current != pynvml.NVML_DEVICE_MIG_ENABLE:
        return
    for place in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        with suppress(pynvml.NVMLError_NotFound):  # places stay empty
            part = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
            yield _text(pynvml.nvmlDeviceGetUUID(part)), _memory(part)


def _memory(handle: Any) -> int:
    return int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)


def _cpus(handle: Any) -> frozenset[int]:
    """The processors of the socket that the GPU hangs on."""
    try:
        words = pynvml.nvmlDeviceGetCpuAffinity(handle, _LISTED // _WORD)
    except pynvml.NVMLError:  # not told on every system
        return frozenset()
    return frozenset(
        place * _WORD + bit for place, word in enumerate(words) for bit in range(_WORD) if int(word) >> bit & 1
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
