"""torch as far as a worker without a real model asks it about its GPU: first on PYTHONPATH, it stands for the real one.

The GPU is that of CUDA_VISIBLE_DEVICES. It computes nothing while its UUID is listed in the file `SIMULATED_BROKEN`.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


def ones(*shape: int, device: str) -> Any:
    if device != "cuda" or _broken():
        raise RuntimeError("CUDA error: device(s) is/are busy or unavailable")
    return np.ones(shape, np.float32)


def _broken() -> bool:
    listed = Path(os.environ.get("SIMULATED_BROKEN", os.devnull))
    return listed.exists() and os.environ["CUDA_VISIBLE_DEVICES"] in listed.read_text().split()


cuda = SimpleNamespace(
    is_initialized=lambda: True,
    empty_cache=lambda: None,
    mem_get_info=lambda: (79 << 30, 80 << 30),
    memory_allocated=lambda: 0,
    get_device_name=lambda index: "Simulated GPU",
)
