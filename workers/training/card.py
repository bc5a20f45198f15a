"""The card of a generator: what it was made of, how, and how far the making has come. For machines and for people."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.items import Task
from schemas.registry import EngineKind, Limits, ModelEntry, Weights
from workers.training.describing import Card, facts_of, loss_card, losses
from workers.training.product import Product
from workers.training.reached import Reached
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

    def card(self, name: str) -> Card:
        """All of it, as `card.json` has it."""
        return loss_card(name, self, Task.GENERATE, EngineKind.CAUSAL, self.measured)

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


def as_markdown(card: Card) -> str:
    """The card as `README.md` has it."""
    data, recipe, training = card["data"], card["recipe"], card["training"]
    facts = facts_of(
        card,
        {"data": f"{data['source']}: {data['rows']:,} molecules, {data['held_out']:,} more held out"},
        {
            "training": f"step {training['step']:,} of {training['steps']:,}, {training['tokens']:,} tokens",
            **losses(training, "molecules"),
        },
        **{name: f"{value:g}" for name, value in (card["measured"] or {}).items()},
    )
    return f"""# {card["model"]}

A causal language model over SMILES: Llama's shape, {recipe["layers"]} layers of width {recipe["width"]},
{training["parameters"]:,} parameters, for sciqueue's engine `{card["engine"]}`. Its weights are kept in fp16, and
computed with in fp32.

{facts}

A sample is the model's guess. That it is valid means that RDKit reads it, not that it can be made or is safe; molecules
unlike those that the model learnt from are out of its reach.
"""
