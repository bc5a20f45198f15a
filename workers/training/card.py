"""The card of a model: what it was made of, how, and how far the making has come. For machines and for people."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from workers.training.recipe import Recipe

SOFTWARE = ("sciqueue", "torch", "transformers", "accelerate", "tokenizers", "rdkit")


@dataclass(slots=True)
class Training:
    """How far a run has come, and by what. Losses are nats a token; the validation one is of the weights as saved."""

    recipe: Recipe
    licence: str  # of the data
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
    measured: dict[str, float] | None = None

    def read(self, checkpoint: Path) -> None:
        """How far the run had come by this checkpoint, as the trainer wrote it down there."""
        from transformers import TrainerState

        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        self.step, self.tokens = state.global_step, int(state.num_input_tokens_seen)
        self.train_loss = next((logged["loss"] for logged in state.log_history[::-1] if "loss" in logged), None)
        taken = state.stateful_callbacks["Stopwatch"]["args"]
        self.wall_seconds, self.cpu_seconds = taken["wall"], taken["cpu"]

    def card(self, name: str) -> dict[str, Any]:
        """All of it, as `card.json` has it."""
        return {
            "model": name,
            "task": "generate",
            "engine": "causal",
            "command": self.recipe.command(name),
            "data": {
                "source": self.recipe.data,
                "licence": self.licence,
                "rows": self.rows,
                "held_out": self.held_out,
                "left_out": self.left_out,
            },
            "recipe": asdict(self.recipe),
            "training": {
                "parameters": self.parameters,
                "steps": self.steps,
                "step": self.step,
                "tokens": self.tokens,
                "train_loss": self.train_loss,
                "validation_loss": self.validation_loss,
                "wall_seconds": round(self.wall_seconds),
                "cpu_seconds": round(self.cpu_seconds),
            },
            "software": {"python": platform.python_version()} | {package: version(package) for package in SOFTWARE},
            "measured": self.measured,
        }


def as_markdown(card: dict[str, Any]) -> str:
    """The card as `README.md` has it."""
    data, recipe, training = card["data"], card["recipe"], card["training"]
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in data["left_out"].items())
    losses = [training["train_loss"], training["validation_loss"]]
    train_loss, validation_loss = ("unknown" if loss is None else f"{loss:.4f}" for loss in losses)
    facts = {
        "made by": f"`{card['command']}`",
        "data": f"{data['source']}: {data['rows']:,} molecules, {data['held_out']:,} more held out",
        "left out": left_out or "none",
        "licence of the data": data["licence"] or "not stated",
        "training": f"step {training['step']:,} of {training['steps']:,}, {training['tokens']:,} tokens",
        "precision, seed": f"{recipe['precision']}, {recipe['seed']}",
        "loss at the last step": f"{train_loss} nats a token",
        "loss on molecules held out": f"{validation_loss} nats a token",
        "time": f"{training['wall_seconds'] / 60:,.0f} minutes with all pauses and other work beside, "
        f"{training['cpu_seconds'] / 60:,.0f} minutes of processor time",
        "software": ", ".join(f"{package} {number}" for package, number in card["software"].items()),
        **{name: f"{value:g}" for name, value in (card["measured"] or {}).items()},
    }
    rows = "\n".join(f"| {name} | {fact} |" for name, fact in facts.items())
    return f"""# {card["model"]}

A causal language model over SMILES: Llama's shape, {recipe["layers"]} layers of width {recipe["width"]},
{training["parameters"]:,} parameters, for sciqueue's engine `{card["engine"]}`. Its weights are kept in fp16, and
computed with in fp32.

| | |
|---|---|
{rows}

A sample is the model's guess. That it is valid means that RDKit reads it, not that it can be made or is safe; molecules
unlike those that the model learnt from are out of its reach.
"""
