"""Which devices a worker is asked to use, and how a process is pinned to one before torch is imported."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from schemas.errors import UsageError
from workers.gpus import Gpu, find, find_gpus, visible_gpus
from workers.room import device_memory

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Device:
    """One device. `name` is what Flower shows; `torch` is the device as the pinned process sees it."""

    name: str
    torch: str
    visible: str  # CUDA_VISIBLE_DEVICES of the process
    memory: int | None  # bytes that it has for models; None: for work that needs no model
    cpus: frozenset[int] = frozenset()  # the processors that it keeps to; empty: any

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that pin a process to this device."""
        return {"CUDA_VISIBLE_DEVICES": self.visible, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def find_devices(wanted: str) -> list[Device]:
    """The devices of this machine that are asked for, among those that CUDA_VISIBLE_DEVICES leaves.

    Raises:
        UsageError: as `parse_devices`, or torch cannot use GPUs.
    """
    if _names(wanted) and set(_names(wanted)) == {"cpu"}:
        return parse_devices(wanted, [])  # without a look at the driver
    gpus = visible_gpus(find_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    if gpus and version("torch").endswith("+cpu"):
        if wanted.strip() != "auto":
            raise UsageError(
                f"--device '{wanted}': torch is installed without CUDA; install one with it: make TORCH=torch"
            )
        log.warning("torch is installed without CUDA, so %d GPUs stay unused: make TORCH=torch", len(gpus))
        gpus = []
    return parse_devices(wanted, gpus)


def parse_devices(wanted: str, gpus: Sequence[Gpu]) -> list[Device]:
    """Read `auto` (each GPU, or the CPU where there is none), `cpu` (once a process: `cpu,cpu`) or a list of GPUs.

    These are numbers, which count among `gpus` as CUDA would count them, or UUIDs, such as `0,1` or `GPU-5a1b…`; all
    are pinned by UUID, which no other process' environment changes.

    Raises:
        UsageError: the list is empty, mixed, names a GPU twice, or one that is not there.
    """
    host = socket.gethostname()
    names = _names(wanted)
    if names == ["auto"]:
        names = [gpu.uuid for gpu in gpus] or ["cpu"]
    if names and set(names) == {"cpu"}:
        memory = device_memory("cpu").total
        return [Device(f"cpu{place}@{host}", "cpu", "", memory) for place in range(len(names))]
    if not names or any(not (name.isdigit() or name.startswith(("GPU-", "MIG-"))) for name in names):
        raise UsageError(f"--device '{wanted}': give 'auto', 'cpu', or different GPUs such as '0,1', by number or UUID")
    found = [_gpu(name, gpus) for name in names]
    if len(set(found)) != len(found):
        raise UsageError(f"--device '{wanted}': give different GPUs, such as '0,1'")
    return [Device(f"{gpu.name}@{host}", "cuda", gpu.uuid, gpu.memory, gpu.cpus) for gpu in found]


def _names(wanted: str) -> list[str]:
    return [name.strip() for name in wanted.split(",") if name.strip()]


def _gpu(name: str, gpus: Sequence[Gpu]) -> Gpu:
    found = (gpus[int(name)] if int(name) < len(gpus) else None) if name.isdigit() else find(gpus, name)
    if found is None:
        there = ", ".join(f"{place} ({gpu.model}, {gpu.uuid})" for place, gpu in enumerate(gpus))
        raise UsageError(f"--device: there is no GPU '{name}'; there are: {there or 'none'}")
    return found


def threads_per_process(processes: int, wanted: int | None) -> int:
    """CPU threads for each process's model thread: the cores that we may use, shared among the processes."""
    return wanted or max(1, len(os.sched_getaffinity(0)) // processes)


def thread_environment(threads: int) -> dict[str, str]:
    """Environment variables that give a process's model thread so many CPU threads.

    They sleep while they wait for each other (`OMP_WAIT_POLICY`, unless it is set). OpenMP's own way is to spin for a
    while, which takes the cores from the processes that prepare rows, and from whatever else the machine does.
    """
    policy = os.environ.get("OMP_WAIT_POLICY", "passive")
    return {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": policy}


def processes_beside(wanted: int | None) -> int:
    """Processes that prepare rows beside this one's model thread: unless told otherwise, as many as its threads.

    Measured on two cores (admet-ai, 2,000 drugs, three times each): 304 molecules/s with one, 385 with two.
    """
    return int(os.environ.get("OMP_NUM_THREADS") or 1) if wanted is None else wanted


def device_type(device: str) -> str:
    """What a cost that was measured on this device holds for: the GPU's name, or the number of the CPU's threads."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name(0)
    return f"cpu, {os.environ.get('OMP_NUM_THREADS') or len(os.sched_getaffinity(0))} threads"
