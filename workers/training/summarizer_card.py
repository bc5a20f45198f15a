"""The card of a summarizer: what it was made of, how, how far the making has come, and how good it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from schemas.items import Task
from schemas.registry import EngineKind, Limits, ModelEntry, Weights
from workers.training.describing import Card, facts_of, loss_card, losses
from workers.training.product import Product
from workers.training.reached import Reached
from workers.training.summarizer_recipe import SummarizerRecipe


@dataclass(slots=True)
class SummarizerTraining:
    """How far a run has come. Losses are nats a token; the validation one and ROUGE are of the weights as saved.

    `rouge` has F1 by measure for the model and for the lead of the same `judged` papers; None before the end.
    """

    recipe: SummarizerRecipe
    licence: str  # of the data
    rows: int
    held_out: int
    left_out: dict[str, int]
    parameters: int
    steps: int
    reached: Reached = field(default_factory=Reached)
    validation_loss: float | None = None
    rouge: dict[str, dict[str, float]] | None = None
    judged: int = 0

    def card(self, name: str) -> Card:
        """All of it, as `card.json` has it."""
        measured: dict[str, Any] | None = self.rouge and {"papers": self.judged, **self.rouge}
        return loss_card(name, self, Task.SUMMARIZE, EngineKind.SEQ2SEQ, measured, target=self.recipe.target)

    def entry(self, product: Product) -> ModelEntry:
        """The registry's entry."""
        return ModelEntry(
            name=product.name,
            task=Task.SUMMARIZE,
            engine=EngineKind.SEQ2SEQ,
            weights=Weights(path=product.model.resolve()),
            licence=self.licence,
            description=f"An encoder-decoder of {self.parameters / 1e6:.1f}M parameters, {self.recipe.base} "
            f"fine-tuned on {self.recipe.data} to write a paper's {self.recipe.target}.",
            trained_on=(self.recipe.data,),
            parameters={"prefix": self.recipe.prefix, "max_new_tokens": self.recipe.target_tokens},
            limits=Limits(
                batch_rows=4,
                batch_size=1_000_000,
                token_budget=65_536,
                max_rows=64,
                max_tokens=self.recipe.source_tokens,
                row_seconds=300.0,
            ),
        )


def as_markdown(card: Card) -> str:
    """The card as `README.md` has it."""
    data, recipe, training = card["data"], card["recipe"], card["training"]
    rows = f"{data['rows']:,} papers, {data['held_out']:,} more held out (drawn by the seed)"
    facts = facts_of(
        card,
        {
            "begun from": f"{recipe['base']}, revision {recipe['revision']}; its licence holds too",
            "data": f"{data['source']}: {rows}",
            "written": f"{data['target']}",
        },
        {
            "tokens": f"{recipe['source_tokens']:,} read at once, {recipe['target_tokens']:,} written at most",
            "training": f"step {training['step']:,} of {training['steps']:,}, {training['tokens']:,} tokens read",
            "learning rate, weight decay, batch": f"{recipe['learning_rate']:g}, {recipe['weight_decay']:g}, "
            f"{recipe['batch']}",
            **losses(training, "papers"),
        },
    )
    return f"""# {card["model"]}

An encoder-decoder of {training["parameters"]:,} parameters for sciqueue's engine `{card["engine"]}`, which writes
summaries of papers. Each text that it reads begins with `{recipe["prefix"]}`.

{facts}

{_quality(card["measured"])}

A written summary may say what its paper does not: look at `support`. Papers unlike those that the model learnt from are
out of its reach.
"""


def _quality(measured: dict[str, Any] | None) -> str:
    if measured is None:
        return "Its summaries have not been judged yet: training has not ended."
    systems = [name for name in measured if name != "papers"]
    names = list(measured[systems[0]])
    lines = [f"| F1, {measured['papers']:,} papers held out | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {system} | {' | '.join(f'{measured[system][name]:.3f}' for name in names)} |" for system in systems]
    return "\n".join(lines)
