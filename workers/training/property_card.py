"""The card of a property model, and its entry for the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas import baseline
from schemas.items import Task
from schemas.registry import Endpoint, EngineKind, Limits, ModelEntry, Weights
from workers.engines.nearest import ENDPOINT
from workers.training.describing import Card, card_of, facts_of
from workers.training.labelled import Kind
from workers.training.product import Product
from workers.training.property_recipe import PropertyRecipe
from workers.training.reached import Reached, time_taken

_LEADING = {"probability": ("ROC-AUC", "PR-AUC", "ECE"), "regression": ("RMSE", "Spearman")}


@dataclass(frozen=True, slots=True)
class MemberReached:
    """How far one member has come, and the step whose weights it has: the best on the validation part."""

    seed: int
    best_step: int
    reached: Reached

    def card(self) -> dict[str, Any]:
        """As `card.json` has it."""
        return {"seed": self.seed, "best_step": self.best_step, **self.reached.card()}


@dataclass(slots=True)
class PropertyTraining:
    """How far a run has come, and by what. `molecules` are those of each part, `temperatures` each task's.

    `parameters` and `steps` are those of each member; a model that is no ensemble has one.
    """

    recipe: PropertyRecipe
    licence: str  # of the data
    tasks: tuple[str, ...]
    kind: Kind
    molecules: dict[str, int]
    left_out: dict[str, int]
    parameters: int
    steps: int
    pretraining: Reached | None
    members: list[MemberReached] = field(default_factory=list)
    temperatures: dict[str, float] | None = None
    measured: dict[str, Any] | None = None

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The data sets' names, as notices of `sciqueue evaluate` know them."""
        pretrained = () if self.recipe.pretrain is None else (self.recipe.pretrain,)
        return (Path(self.recipe.data).name.split(".")[0], *pretrained)

    def card(self, name: str) -> Card:
        """All of it, as `card.json` has it."""
        return card_of(
            name,
            self.recipe,
            Task.PREDICT,
            EngineKind.CLASSIFIER,
            data={
                "source": self.recipe.data,
                "licence": self.licence,
                "tasks": list(self.tasks),
                "kind": self.kind,
                "split": "scaffold 80/10/10",
                "molecules": self.molecules,
                "left_out": self.left_out,
                "pretrained_on": self.recipe.pretrain,
            },
            pretraining=None if self.pretraining is None else self.pretraining.card(),
            training={
                "parameters": self.parameters,
                "steps": self.steps,
                "temperatures": self.temperatures,
                "members": (members := [one.card() for one in self.members]),
                **{took: sum(one[took] for one in members) for took in ("wall_seconds", "cpu_seconds")},
            },
            measured=self.measured,
        )

    def entry(self, product: Product) -> ModelEntry:
        """The registry's entry."""
        return ModelEntry(
            name=product.name,
            task=Task.PREDICT,
            engine=EngineKind.CLASSIFIER,
            weights=Weights(path=product.model.resolve()),
            licence=self.licence,
            description=f"{_kind(self.recipe.members)} over SMILES, {self.parameters / 1e6:.1f}M parameters"
            f"{' each' if self.recipe.members > 1 else ''}, fine-tuned on {Path(self.recipe.data).name}.",
            endpoints=(*(Endpoint(name=task, kind=self.kind) for task in self.tasks), ENDPOINT),
            trained_on=self.trained_on,
            limits=Limits(
                batch_rows=max(16, 256 // self.recipe.members),
                batch_size=50_000,
                token_budget=8192,
                max_rows=256,
                max_tokens=self.recipe.longest + 2,
            ),
        )


def as_markdown(card: Card) -> str:
    """The card as `README.md` has it."""
    data, training, before = card["data"], card["training"], card["pretraining"]
    members = training["members"]
    molecules = ", ".join(f"{count:,} molecules for {name}" for name, count in data["molecules"].items())
    best = ", ".join(f"{one['best_step']:,}" for one in members)
    facts = facts_of(
        card,
        {
            "data": f"{data['source']}, {len(data['tasks'])} tasks: {molecules}",
            "split": f"{data['split']}: whole scaffolds, the rarest are tested on",
        },
        {
            "pretrained on": data["pretrained_on"] or "nothing",
            **({"pretraining": _pretraining(before)} if before else {}),
            "training": f"step {best} of {training['steps']:,}, the best on the validation part",
            **({"members": ", ".join(f"seed {one['seed']}" for one in members)} if len(members) > 1 else {}),
        },
    )
    each = " each" if len(members) > 1 else ""
    return f"""# {card["model"]}

{_kind(len(members))} over SMILES, {training["parameters"]:,} parameters{each}, with one output a task, for
sciqueue's engine `{card["engine"]}`. Weights are kept in fp16, and computed with in fp32.
{_read_as(data["kind"], len(members))}

{facts}

## On molecules of other scaffolds

Each figure is followed by that of {baseline.NAME}, which learnt from the same molecules.{_calibrated(card)}

{_figures(card["measured"], data["kind"])}
## How far it reaches

Each prediction comes with `{ENDPOINT.name}`: {ENDPOINT.description}.
{_reach(card["measured"])} The figures above say nothing of molecules that lie much further off.
"""


def _kind(members: int) -> str:
    return "An encoder" if members == 1 else f"An ensemble of {members} encoders"


def _pretraining(before: Mapping[str, Any]) -> str:
    return f"{before['step']:,} steps, {before['tokens']:,} tokens; {time_taken(before)}"


def _read_as(kind: str, members: int) -> str:
    said = (
        "Probabilities are calibrated by a temperature a task, on the validation part; they are a model's guess, no "
        "measurement."
        if kind == "probability"
        else "Values are in the units of the data."
    )
    if members > 1:
        said += " Each is the mean of what the members say, and `spread` their standard deviation."
    return said


def _calibrated(card: Card) -> str:
    """What calibration did to the calibration error, by the mean over tasks."""
    if card["training"]["temperatures"] is None:
        return ""
    changed = [
        f"{_said(found['uncalibrated']['mean']['ECE'])} to {_said(found['model']['mean']['ECE'])} ({part})"
        for part, found in card["measured"].items()
    ]
    brought = " and from ".join(changed)
    return f" Calibration\nbrought the expected calibration error (ECE), as a mean over tasks, from {brought}."


def _reach(measured: Mapping[str, Any]) -> str:
    far = [f"{found['distance']['median']:.2f} of the {part} part" for part, found in measured.items()]
    most = [f"{found['distance']['nine tenths']:.2f}" for found in measured.values()]
    return f"Its median is {' and '.join(far)}; nine tenths of these lie within {' and '.join(most)}."


def _figures(measured: dict[str, Any], kind: str) -> str:
    names = _LEADING[kind]
    text = ""
    for part in ("validation", "test"):
        found = measured[part]
        rows = [f"| {part} | labels | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]
        for task, mine in found["model"].items():
            pairs = [f"{_said(mine[name])} / {_said(found['baseline'][task][name])}" for name in names]
            rows.append(f"| {task} | {found['labels'].get(task, '')} | {' | '.join(pairs)} |")
        text += "\n".join(rows) + "\n\n"
    return text


def _said(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
