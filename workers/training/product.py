"""What a training run leaves in its folder: the model in `model/`, its card, and its entry for the registry."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from schemas.files import write_whole
from schemas.items import Task
from schemas.registration import as_toml
from schemas.registry import EngineKind, Limits, ModelEntry, Weights
from workers.training.card import Training, as_markdown

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

    def take(self, checkpoint: Path) -> None:
        """Make the model from a checkpoint: weights in fp16, which the engine computes with in fp32."""
        import torch
        from transformers import AutoModelForCausalLM

        fresh = self.folder / "model.new"
        shutil.rmtree(fresh, ignore_errors=True)
        AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float16).save_pretrained(fresh)
        for name in _TOKENIZER:
            shutil.copy(checkpoint / name, fresh)
        self.model.mkdir(exist_ok=True)
        for file in fresh.iterdir():
            file.chmod(0o644)  # safetensors leaves its file to its owner alone; workers may be others
            file.replace(self.model / file.name)
        fresh.rmdir()

    def describe(self, about: Training) -> None:
        """Write the card, as `README.md` and `card.json`, and the entry, as `models.toml`."""
        card = about.card(self.name)
        for name, text in (
            ("card.json", json.dumps(card, indent=1) + "\n"),
            ("README.md", as_markdown(card)),
            ("models.toml", as_toml(self.entry(about))),
        ):
            write_whole(self.folder / name, text)

    def entry(self, about: Training) -> ModelEntry:
        """The registry's entry."""
        longest = about.recipe.longest
        return ModelEntry(
            name=self.name,
            task=Task.GENERATE,
            engine=EngineKind.CAUSAL,
            weights=Weights(path=self.model.resolve()),
            licence=about.licence,
            description=f"A causal language model over SMILES, {about.parameters / 1e6:.1f}M parameters, "
            f"trained on {about.recipe.data}.",
            parameters={
                "samples": 1,
                "temperature": 1.0,
                "top_k": 0,
                "top_p": 1.0,
                "max_new_tokens": longest + 1,
                "seed": 0,
            },
            limits=Limits(
                batch_rows=128, batch_size=100_000, token_budget=65_536, max_rows=512, max_tokens=longest + 2
            ),
        )
