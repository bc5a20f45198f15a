"""What a training run leaves in its folder: `model/`, its card for people and machines, and its registry entry."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from schemas.items import Task
from schemas.registration import as_toml
from schemas.registry import EngineKind, Limits, ModelEntry, Weights
from workers.training.recipe import Recipe

SOFTWARE = ("sciqueue", "torch", "transformers", "accelerate", "tokenizers", "rdkit")


@dataclass(slots=True)
class Training:
    """How far a run has come, and by what. Losses are nats a token; the validation one is of the saved weights."""

    recipe: Recipe
    rows: int
    held_out: int
    left_out: dict[str, int]
    parameters: int
    steps: int
    step: int = 0
    tokens: int = 0
    train_loss: float | None = None
    validation_loss: float | None = None
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Product:
    """A model's folder. Half-precision weights lie in `model/`, beside all that an engine reads and nothing else."""

    folder: Path
    name: str
    licence: str  # of the data
    command: str
    measured: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> Path:
        """The folder that a registry entry names."""
        return self.folder / "model"

    def entry(self, longest: int) -> ModelEntry:
        """The registry's entry."""
        return ModelEntry(
            name=self.name,
            task=Task.GENERATE,
            engine=EngineKind.CAUSAL,
            weights=Weights(path=self.model.resolve()),
            licence=self.licence,
            description="A causal language model over SMILES, trained by `sciqueue train generator`.",
            parameters={"samples": 1, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": longest, "seed": 0},
            limits=Limits(
                batch_rows=512, batch_size=100_000, token_budget=65_536, max_rows=512, max_tokens=longest + 2
            ),
        )

    def take(self, checkpoint: Path) -> None:
        """Make the model of a checkpoint: weights in fp16, which the engine computes with in fp32."""
        import torch
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float16)
        self._put(model.save_pretrained)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            self._put(lambda folder, file=file: shutil.copy(checkpoint / file, folder))

    def _put(self, write: Callable[[Path], Any]) -> None:
        """Let `write` make files in a folder, then put each in its place at once."""
        fresh = self.folder / "model.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        write(fresh)
        self.model.mkdir(exist_ok=True)
        for file in fresh.iterdir():
            os.replace(file, self.model / file.name)
        fresh.rmdir()

    def describe(self, about: Training) -> None:
        """Write the card, as `README.md` and `card.json`, and the entry, as `models.toml`."""
        card = {
            "model": self.name,
            "task": Task.GENERATE.value,
            "engine": EngineKind.CAUSAL.value,
            "command": self.command,
            "data": {
                "source": about.recipe.data,
                "licence": self.licence,
                "rows": about.rows,
                "held_out": about.held_out,
                "left_out": about.left_out,
            },
            "recipe": asdict(about.recipe),
            "training": {
                "parameters": about.parameters,
                "steps": about.steps,
                "step": about.step,
                "tokens": about.tokens,
                "train_loss": about.train_loss,
                "validation_loss": about.validation_loss,
                "wall_seconds": round(about.wall_seconds),
                "cpu_seconds": round(about.cpu_seconds),
            },
            "software": {"python": platform.python_version()} | {name: version(name) for name in SOFTWARE},
            "measured": self.measured,
        }
        _write(self.folder / "card.json", json.dumps(card, indent=1) + "\n")
        _write(self.folder / "README.md", _readme(card))
        _write(self.folder / "models.toml", as_toml(self.entry(about.recipe.longest)))


def _write(file: Path, text: str) -> None:
    fresh = file.with_name(file.name + ".new")
    fresh.write_text(text, "utf-8")
    os.replace(fresh, file)


def _shown(loss: float | None) -> str:
    return "unknown" if loss is None else f"{loss:.4f}"


def _readme(card: dict[str, Any]) -> str:
    data, recipe, training = card["data"], card["recipe"], card["training"]
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in data["left_out"].items()) or "none"
    measured = [f"| {name} | {value} |" for name, value in card["measured"].items()]
    lines = [
        f"# {card['model']}",
        "",
        f"A causal language model over SMILES (Llama's shape, {training['parameters']:,} parameters: {recipe['layers']} "
        f"layers of width {recipe['width']}), for sciqueue's engine `{card['engine']}`. Weights are kept in fp16 and computed "
        "with in fp32.",
        "",
        "| | |",
        "|---|---|",
        f"| made by | `{card['command']}` |",
        f"| data | {data['source']}: {data['rows']:,} molecules, {data['held_out']:,} more held out; left out: {left_out} |",
        f"| licence of the data | {data['licence'] or 'not stated'} |",
        f"| training | step {training['step']:,} of {training['steps']:,}, {training['tokens']:,} tokens, {recipe['precision']}, "
        f"seed {recipe['seed']} |",
        f"| loss, nats a token | {_shown(training['train_loss'])} at the end, {_shown(training['validation_loss'])} on "
        "molecules held out |",
        f"| time | {training['wall_seconds'] / 60:,.0f} minutes with pauses, {training['cpu_seconds'] / 60:,.0f} of processor "
        "time |",
        f"| software | {', '.join(f'{name} {number}' for name, number in card['software'].items())} |",
        *measured,
        "",
        "Samples are the model's guesses: validity says that RDKit reads them, not that they can be made or are safe. Molecules "
        "unlike those that it learnt from are out of its reach.",
    ]
    return "\n".join(lines) + "\n"
