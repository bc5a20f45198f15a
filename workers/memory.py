"""What the batcher must know about a device's memory: which errors mean that it ran out, and how much to ask of it.

Nothing here imports torch: errors are told by their class name and message, so that an engine without torch works too.
"""

from __future__ import annotations

import gc
import sys

OUT_OF_MEMORY = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "HIP out of memory",
    "MPS backend out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)

# After one of these the CUDA context is gone: every later call in the process fails, whatever its rows.
DEVICE_LOST = (
    "an illegal memory access was encountered",
    "an illegal instruction was encountered",
    "device-side assert triggered",
    "unspecified launch failure",
    "misaligned address",
    "uncorrectable ECC error",
    "hardware stack error",
    "device(s) is/are busy or unavailable",
)

RESTS = 16
"""Micro-batches near the ceiling that must succeed before the ceiling is raised, by a sixteenth of the budget."""


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether the micro-batch was too large for the memory. Every other error must pass through unchanged."""
    kind = type(fault)
    if kind.__name__ == "OutOfMemoryError" and kind.__module__.partition(".")[0] == "torch":
        return True
    if isinstance(fault, MemoryError):
        return True
    return isinstance(fault, RuntimeError) and any(phrase in str(fault) for phrase in OUT_OF_MEMORY)


def is_device_lost(fault: BaseException) -> bool:
    """Whether the process can no longer use its device, so that a retry would only blame rows that are innocent."""
    return isinstance(fault, RuntimeError) and any(phrase in str(fault) for phrase in DEVICE_LOST)


def free_cached() -> None:
    """Give back what a failed attempt left behind. Call it once no reference to the exception is left."""
    gc.collect(1)  # what has just failed is young; a full collection takes a tenth of a second
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


class Ceiling:
    """The padded tokens that the device takes: halved when memory runs out, raised again step by step.

    What memory allows depends on who else uses the device, so a ceiling found once is not kept for good. Additive
    increase and multiplicative decrease find it again at the price of a rare failure.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.tokens = budget
        self._successes = 0

    def failed(self, padded: int) -> None:
        """A micro-batch of so many padded tokens did not fit."""
        self.tokens = max(1, min(self.tokens, padded // 2))
        self._successes = 0

    def worked(self, padded: int) -> None:
        """A micro-batch of so many padded tokens fitted; one far below the ceiling proves nothing about it."""
        if self.tokens == self.budget or padded * 2 < self.tokens:
            return
        self._successes += 1
        if self._successes == RESTS:
            self._successes = 0
            self.tokens = min(self.budget, self.tokens + max(1, self.budget // RESTS))
