"""What a training run leaves in its folder: the model in `model/`, its card, and its entry for the registry."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.files import write_whole
from schemas.registration import as_toml
from schemas.registry import ModelEntry

_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True, slots=True)
class Product:
    """A model's folder. `model/` holds what an engine reads and nothing else: its hashes are the model's revision."""

    folder: Path
    name: str

    @property
    def model(self) -> Path:
        """The folder that the registry's entry names."""
        return self.folder / "model"

    def take(self, model: Any, checkpoint: Path, member: str = "") -> None:
        """Save a model of `transformers` as it is, in its precision, with the tokenizer of a checkpoint.

        A `member` of an ensemble goes into a folder of that name in `model/`.
        """
        fresh = self.folder / "model.new"
        shutil.rmtree(fresh, ignore_errors=True)
        model.save_pretrained(fresh)
        for name in _TOKENIZER:
            shutil.copy(checkpoint / name, fresh)
        folder = self.model / member
        folder.mkdir(parents=True, exist_ok=True)
        for file in fresh.iterdir():
            file.chmod(0o644)  # safetensors leaves its file to its owner alone; workers may be others
            file.replace(folder / file.name)
        fresh.rmdir()

    def describe(self, card: dict[str, Any], text: str, entry: ModelEntry) -> None:
        """Write the card, as `card.json` and as `README.md`, and the entry, as `models.toml`."""
        for name, content in (
            ("card.json", json.dumps(card, indent=1) + "\n"),
            ("README.md", text),
            ("models.toml", as_toml(entry)),
        ):
            write_whole(self.folder / name, content)
