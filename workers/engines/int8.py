"""Linear layers in int8, by torchao: weights with a scale for each output, inputs with one for each token.

A scale for each token is what keeps a row's values its own. torch's own dynamic quantization takes one scale for a
whole micro-batch: it is faster, but a row's values would move by what it is computed with.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schemas.errors import ModelUnavailable

INSTALL = "pip install 'sciqueue[compress]'"


def check(name: str, precision: str, folders: Sequence[Path]) -> None:
    """Compare a model's precision with what its checkpoints hold, and import what reads int8, silently.

    Raises:
        ModelUnavailable: only one of both is int8, or torchao is not installed.
    """
    for folder in folders:
        if is_quantized(folder) != (precision == "int8"):
            held = "int8" if is_quantized(folder) else "no int8"
            raise ModelUnavailable(f"model '{name}' has precision {precision}, but {folder} holds {held}")
    if precision == "int8":
        configuration()


def is_quantized(folder: Path) -> bool:
    """Whether the checkpoint there is one of int8; false where its config.json cannot be read."""
    try:
        return "quantization_config" in json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False


def configuration() -> Any:
    """How `transformers` is told of this kind of quantization.

    Raises:
        ModelUnavailable: torchao is not installed.
    """
    # It tells of each of its GPU libraries that cannot be loaded, and torch of torchao's habits.
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig
    except ImportError as fault:
        raise ModelUnavailable(f"int8 needs torchao, which is not installed: {INSTALL}") from fault
    from transformers import TorchAoConfig

    return TorchAoConfig(Int8DynamicActivationInt8WeightConfig())
