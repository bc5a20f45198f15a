"""How much memory there is for a process's models on its device, how much they hold, and how it is given back.

Of the CPU's memory a container may have less than its machine: the limits of all control groups above the process
count, in both versions that Linux has of them.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from workers.memory import free_cached

RESERVE_SHARE = 16
MOST_RESERVE = 4 << 30
"""The reserve is a sixteenth of the memory, and no more than so many bytes."""

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a device's memory: in all, and free."""

    total: int
    free: int


class Room:
    """The memory that models may take on a device, `cpu` or `cuda`: what is free there, within the user's bound."""

    def __init__(self, device: str, bound: int | None = None) -> None:
        """`bound`: bytes that all models of the process may hold together."""
        self._device = device
        self._bound = bound

    def memory(self, held: int, *, reserve: bool) -> Memory:
        """What there is for models, and what a further one may take beside those that hold so many bytes.

        `reserve`: whether something is left for rows that are computed, and for others.
        """
        here = device_memory(self._device)
        free = here.free - (min(here.total // RESERVE_SHARE, MOST_RESERVE) if reserve else 0)
        if self._bound is None:
            return Memory(here.total, max(0, free))
        return Memory(min(here.total, self._bound), max(0, min(free, self._bound - held)))

    def held(self) -> int | None:
        """Bytes that this process holds on the device; None while the next model will bring torch itself along."""
        torch = sys.modules.get("torch")
        if self._device == "cpu":
            return None if torch is None else int(psutil.Process().memory_info().rss)
        return 0 if torch is None else int(torch.cuda.memory_allocated())


def device_memory(device: str) -> Memory:
    """The memory of a device as this process may use it."""
    if device == "cpu":
        machine = psutil.virtual_memory()
        known = [Memory(machine.total, machine.available), *group_limits()]
        return Memory(min(one.total for one in known), min(one.free for one in known))
    import torch

    free_cached()  # what torch keeps for later counts as free
    free, total = torch.cuda.mem_get_info()
    return Memory(total, free)


def group_limits(groups: Path = CONTROL_GROUPS, own: Path = OWN_GROUPS) -> list[Memory]:
    """The limits of the control groups that this process is in; the file cache counts as free."""
    found = []
    with suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                found += _limits(groups, path, ("memory.max", "memory.current", "inactive_file"))
            elif "memory" in controllers.split(","):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                found += _limits(groups / "memory", path, names)
    return found


def spare_collector() -> None:
    """Keep Python's cycle collector from going through all that was loaded, again and again, while rows pass by.

    It starts by the number of new objects, of which each row has a dozen, and they are nearly never in cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)


def give_back() -> None:
    """Return to the device and the machine what a model that was put away has left behind."""
    gc.unfreeze()  # modules hold themselves in cycles, and frozen ones are not collected
    spare_collector()
    free_cached()
    with suppress(AttributeError, OSError):  # only glibc keeps what was freed until it is asked
        ctypes.CDLL(None).malloc_trim(0)


def _limits(root: Path, path: str, names: tuple[str, str, str]) -> list[Memory]:
    """The limits from a control group up to the root. In a container the path may be the host's, and not be there."""
    limit, usage, cache = names
    found = []
    group = root / path.lstrip("/")
    for folder in (group, *group.parents):
        with suppress(OSError, ValueError):  # no such file, or "max"
            total = int((folder / limit).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            free = total - int((folder / usage).read_text()) + int(stat.get(cache, 0))
            found.append(Memory(total, max(0, free)))
        if folder == root:
            break
    return found
