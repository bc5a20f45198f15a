"""A sequence classifier's checkpoint in int8."""

from __future__ import annotations

import shutil
from pathlib import Path

from schemas.ensemble import members
from schemas.errors import UsageError
from schemas.registry import EngineKind, ModelEntry, Weights
from workers.engines import int8
from workers.weights import locate

_WEIGHTS = ("model*.safetensors*", "*.bin", "card.json", "README.md")  # made anew, or of the model it is made of


def check(entry: ModelEntry) -> None:
    """Refuse what cannot be compressed.

    Raises:
        UsageError: the engine is none of those that can be compressed, or the model is in int8 already.
    """
    if entry.engine is not EngineKind.CLASSIFIER:
        raise UsageError(
            f"model '{entry.name}' runs in engine {entry.engine.value}; only those of classifier can be compressed"
        )
    if entry.precision == "int8":
        raise UsageError(f"model '{entry.name}' is in int8 already")


def quantize(entry: ModelEntry, name: str, folder: Path) -> ModelEntry:
    """Write the model with its linear layers in int8 to `folder`, in place of what was there; its entry.

    Each member of an ensemble is quantized by itself; tokenizer and molecules learnt from are copied.

    Raises:
        ModelUnavailable: the weights are missing or changed, or torchao is not installed.
    """
    int8.configuration()  # before anything is written
    source = locate(entry.weights)
    fresh = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(source, fresh, ignore=shutil.ignore_patterns(*_WEIGHTS))
    for member in members(source):
        _write(member, fresh / member.relative_to(source))
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return entry.model_copy(
        update={
            "name": name,
            "weights": Weights(path=folder.resolve()),
            "precision": "int8",
            "default": False,
            "description": f"{entry.name} with its linear layers in int8.",
        }
    )


def _write(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, logging

    quantization = int8.configuration()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers has no types here
    model = AutoModelForSequenceClassification.from_pretrained(
        source,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        dtype=torch.float32,
        quantization_config=quantization,
    )
    model.save_pretrained(target)
    for file in target.iterdir():
        file.chmod(0o644)  # safetensors leaves its file to its owner alone; workers may be others
