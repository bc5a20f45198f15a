"""How far a run has come by a checkpoint, and the parts of a card that every kind of model has."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

SOFTWARE = ("sciqueue", "torch", "transformers", "accelerate", "tokenizers", "rdkit")


@dataclass(frozen=True, slots=True)
class Reached:
    """Steps and tokens so far, the mean loss of the last ten steps, and what they took in all sittings."""

    step: int = 0
    tokens: int = 0
    train_loss: float | None = None
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0

    @classmethod
    def read(cls, checkpoint: Path) -> Reached:
        """As the trainer wrote it down in a checkpoint."""
        from transformers import TrainerState

        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        taken = state.stateful_callbacks["Stopwatch"]["args"]
        return cls(
            step=state.global_step,
            tokens=int(state.num_input_tokens_seen),
            train_loss=next((logged["loss"] for logged in state.log_history[::-1] if "loss" in logged), None),
            wall_seconds=taken["wall"],
            cpu_seconds=taken["cpu"],
        )

    def card(self) -> dict[str, Any]:
        """As `card.json` has it."""
        return {
            "step": self.step,
            "tokens": self.tokens,
            "train_loss": self.train_loss,
            "wall_seconds": round(self.wall_seconds),
            "cpu_seconds": round(self.cpu_seconds),
        }


def software() -> dict[str, str]:
    """The versions that a model was made with."""
    return {"python": platform.python_version()} | {package: version(package) for package in SOFTWARE}


def time_taken(training: Mapping[str, Any]) -> str:
    """A card's sentence on time."""
    return (
        f"{training['wall_seconds'] / 60:,.0f} minutes with all pauses and other work beside, "
        f"{training['cpu_seconds'] / 60:,.0f} minutes of processor time"
    )


def listed(software: Mapping[str, str]) -> str:
    """A card's sentence on software."""
    return ", ".join(f"{package} {number}" for package, number in software.items())


def table(facts: Mapping[str, str]) -> str:
    """Facts as a table in Markdown, without a heading."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {fact} |" for name, fact in facts.items())])
