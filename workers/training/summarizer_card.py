"""The card of a summarizer: what it was made of, how, how far the making has come, and how good it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from schemas.items import Task
from schemas.registry import EngineKind, Limits, ModelEntry, Weights
from workers.training.product import Product
from workers.training.reached import Reached, listed, software, table, time_taken
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

    def card(self, name: str) -> dict[str, Any]:
        """All of it, as `card.json` has it."""
        return {
            "model": name,
            "task": "summarize",
            "engine": "seq2seq",
            "command": self.recipe.command(name),
            "data": {
                "source": self.recipe.data,
                "target": self.recipe.target,
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
            "measured": self.rouge and {"papers": self.judged, **self.rouge},
        }

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


def as_markdown(card: dict[str, Any]) -> str:
    """The card as `README.md` has it."""
    data, recipe, training = card["data"], card["recipe"], card["training"]
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in data["left_out"].items())
    losses = [training["train_loss"], training["validation_loss"]]
    train_loss, validation_loss = ("unknown" if loss is None else f"{loss:.4f}" for loss in losses)
    facts = {
        "made by": f"`{card['command']}`",
        "begun from": f"{recipe['base']}, revision {recipe['revision']}; its licence holds too",
        "data": f"{data['source']}: {data['rows']:,} papers, {data['held_out']:,} more held out (drawn by the seed)",
        "written": f"{data['target']}",
        "left out": left_out or "none",
        "licence of the data": data["licence"] or "not stated",
        "tokens": f"{recipe['source_tokens']:,} read at once, {recipe['target_tokens']:,} written at most",
        "training": f"step {training['step']:,} of {training['steps']:,}, {training['tokens']:,} tokens read",
        "learning rate, weight decay, batch": f"{recipe['learning_rate']:g}, {recipe['weight_decay']:g}, "
        f"{recipe['batch']}",
        "precision, seed": f"{recipe['precision']}, {recipe['seed']}",
        "loss at the last step": f"{train_loss} nats a token",
        "loss on papers held out": f"{validation_loss} nats a token",
        "time": time_taken(training),
        "software": listed(card["software"]),
    }
    return f"""# {card["model"]}

An encoder-decoder of {training["parameters"]:,} parameters for sciqueue's engine `{card["engine"]}`, which writes
summaries of papers. Each text that it reads begins with `{recipe["prefix"]}`.

{table(facts)}

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
