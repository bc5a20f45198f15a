"""What the cards of all kinds of models have in common, and the line that a run begins with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
import transformers

from schemas.items import Task
from schemas.registry import EngineKind, ModelEntry
from workers.training.loop import step_of
from workers.training.product import Product
from workers.training.progress import tell
from workers.training.reached import Reached, listed, software, table, time_taken

Card = dict[str, Any]


class AnyRecipe(Protocol):
    """A recipe: a dataclass that knows the call which makes the same model."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def data(self) -> str:
        """What is learnt from, as the user named it."""
        ...

    def command(self, name: str) -> str:
        """The call."""
        ...


class Run(Protocol):
    """A training run, as far as it has come."""

    left_out: dict[str, int]
    parameters: int
    steps: int

    def card(self, name: str) -> Card:
        """All of it, as `card.json` has it."""
        ...

    def entry(self, product: Product) -> ModelEntry:
        """The registry's entry."""
        ...


class LossRun(Run, Protocol):
    """A run that is followed by its loss on rows held out."""

    licence: str
    rows: int
    held_out: int
    reached: Reached
    validation_loss: float | None

    @property
    def recipe(self) -> AnyRecipe:
        """What it is made of."""
        ...


def card_of(name: str, recipe: AnyRecipe, task: Task, engine: EngineKind, **parts: Any) -> Card:
    """A card: what every kind of model has, and its own `parts`."""
    return {
        "model": name,
        "task": task.value,
        "engine": engine.value,
        "command": recipe.command(name),
        "recipe": asdict(recipe),
        **parts,
        "software": software(),
    }


def loss_card(name: str, about: LossRun, task: Task, engine: EngineKind, measured: Any, **data: str) -> Card:
    """The card of a run that is followed by its loss; `data` is what else there is to say of what it learns from."""
    return card_of(
        name,
        about.recipe,
        task,
        engine,
        data={
            "source": about.recipe.data,
            **data,
            "licence": about.licence,
            "rows": about.rows,
            "held_out": about.held_out,
            "left_out": about.left_out,
        },
        training={
            "parameters": about.parameters,
            "steps": about.steps,
            "validation_loss": about.validation_loss,
            **about.reached.card(),
        },
        measured=measured,
    )


def facts_of(card: Card, data: Mapping[str, str], training: Mapping[str, str], **measured: str) -> str:
    """A card's table: what every kind of model has, and what is said of this one's data, training and quality."""
    recipe = card["recipe"]
    return table(
        {
            "made by": f"`{card['command']}`",
            **data,
            "left out": _counted(card["data"]["left_out"], ", "),
            "licence of the data": card["data"]["licence"] or "not stated",
            **training,
            "precision, seed": f"{recipe['precision']}, {recipe['seed']}",
            "time": time_taken(card["training"]),
            "software": listed(card["software"]),
            **measured,
        }
    )


def losses(training: Mapping[str, Any], rows: str) -> dict[str, str]:
    """A card's facts on the losses of a language model; `rows` is what was held out."""
    found = {
        "loss at the last step": training["train_loss"],
        f"loss on {rows} held out": training["validation_loss"],
    }
    return {name: "unknown" if loss is None else f"{loss:.4f} nats a token" for name, loss in found.items()}


def opening(rows: str, about: Run, begun: Path | None) -> str:
    """The line that a run begins with; `rows` says which it has."""
    return (
        f"{rows}; left out: {_counted(about.left_out, '; ')}; {about.parameters:,} parameters, {about.steps:,} steps"
        + (f", going on after step {step_of(begun):,}" if begun else "")
    )


def describe(product: Product, about: Run, as_markdown: Callable[[Card], str]) -> None:
    """Write what is known of the run beside its model."""
    card = about.card(product.name)
    product.describe(card, as_markdown(card), about.entry(product))


def keep(
    product: Product,
    about: LossRun,
    checkpoint: Path,
    auto_class: str,
    as_markdown: Callable[[Card], str],
    loss: Callable[[], float],
) -> None:
    """Make a checkpoint the run's model so far; `loss` is that of the model as it was saved.

    It is saved in fp16, which the engine computes with in fp32; what T5 cannot have in fp16, `transformers` leaves as
    it is.
    """
    product.take(getattr(transformers, auto_class).from_pretrained(checkpoint, dtype=torch.float16), checkpoint)
    about.reached = Reached.read(checkpoint)
    about.validation_loss = loss()
    describe(product, about, as_markdown)
    tell(f"step {about.reached.step:,}/{about.steps:,} saved, validation loss {about.validation_loss:.4f}")


def _counted(left_out: Mapping[str, int], between: str) -> str:
    return between.join(f"{count:,} {reason}" for reason, count in left_out.items()) or "none"
