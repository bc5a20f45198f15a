"""The card of a generator: what it was made of, how, and how far the making has come. For machines and for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from schemas.items import Task
from schemas.registry import EngineKind, Limits, ModelEntry, Weights
from workers.training.product import Product
from workers.training.reached import Reached, listed, software, table, time_taken
from workers.training.recipe import Recipe


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
    reached: Reached = field(default_factory=Reached)
    validation_loss: float | None = None
    measured: dict[str, float] | None = None

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
                "validation_loss": self.validation_loss,
                **self.reached.card(),
            },
            "software": software(),
            "measured": self.measured,
        }

    def entry(self, product: Product) -> ModelEntry:
        """The registry's entry."""
        longest = self.recipe.longest
        return ModelEntry(
            name=product.name,
            task=Task.GENERATE,
            engine=EngineKind.CAUSAL,
            weights=Weights(path=product.model.resolve()),
            licence=self.licence,
            description=f"A causal language model over SMILES, {self.parameters / 1e6:.1f}M parameters, "
            f"trained on {self.recipe.data}.",
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
        "time": time_taken(training),
        "software": listed(card["software"]),
        **{name: f"{value:g}" for name, value in (card["measured"] or {}).items()},
    }
    return f"""# {card["model"]}

A causal language model over SMILES: Llama's shape, {recipe["layers"]} layers of width {recipe["width"]},
{training["parameters"]:,} parameters, for sciqueue's engine `{card["engine"]}`. Its weights are kept in fp16, and
computed with in fp32.

{table(facts)}

A sample is the model's guess. That it is valid means that RDKit reads it, not that it can be made or is safe; molecules
unlike those that the model learnt from are out of its reach.
"""
