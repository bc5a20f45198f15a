"""What a worker process takes of its machine, and how its device stands, others' use of it included."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import psutil

from workers.gpus import load_of
from workers.room import Memory, device_memory


@dataclass(frozen=True, slots=True)
class Usage:
    """One reading. `resident` are bytes of this process and of those that prepare rows for it; `memory` is that of
    `cpu`, as its containers allow, and of the process's GPU by UUID, as is `busy`: the share of the last moment that it
    computed, 0 to 1. A GPU that cannot be asked is missing, a slice of one is so in `busy`.
    """

    resident: int
    memory: dict[str, Memory]
    busy: dict[str, float]


def read_usage(gpu: str) -> Usage:
    """How it is now; `gpu` is the UUID that the process is pinned to, empty for none. Takes milliseconds, no CUDA."""
    memory, busy = {"cpu": device_memory("cpu")}, {}
    if gpu and (load := load_of(gpu)):
        memory[gpu] = Memory(load.memory, load.free)
        if load.busy is not None:
            busy[gpu] = load.busy
    return Usage(_resident(), memory, busy)


def _resident() -> int:
    own = psutil.Process()
    resident = 0
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # it has just ended
            resident += process.memory_info().rss
    return resident
