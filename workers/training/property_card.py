"""The card of a property model, and its entry for the registry."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from schemas import baseline
from schemas.items import Task
from schemas.registry import Endpoint, EngineKind, Limits, ModelEntry, Weights
from workers.training.labelled import Kind
from workers.training.product import Product
from workers.training.property_recipe import PropertyRecipe
from workers.training.reached import Reached, listed, software, table, time_taken

_LEADING = {"probability": ("ROC-AUC", "PR-AUC", "ECE"), "regression": ("RMSE", "Spearman")}


@dataclass(slots=True)
class PropertyTraining:
    """How far a run has come, and by what. `molecules` are those of each part, `temperatures` each task's."""

    recipe: PropertyRecipe
    licence: str  # of the data
    tasks: tuple[str, ...]
    kind: Kind
    molecules: dict[str, int]
    left_out: dict[str, int]
    parameters: int
    steps: int
    pretraining: Reached | None
    reached: Reached = field(default_factory=Reached)
    best_step: int = 0
    temperatures: dict[str, float] | None = None
    measured: dict[str, Any] | None = None

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The data sets' names, as notices of `sciqueue evaluate` know them."""
        pretrained = () if self.recipe.pretrain is None else (self.recipe.pretrain,)
        return (Path(self.recipe.data).name.split(".")[0], *pretrained)

    def card(self, name: str) -> dict[str, Any]:
        """All of it, as `card.json` has it."""
        return {
            "model": name,
            "task": "predict",
            "engine": "classifier",
            "command": self.recipe.command(name),
            "data": {
                "source": self.recipe.data,
                "licence": self.licence,
                "tasks": list(self.tasks),
                "kind": self.kind,
                "split": "scaffold 80/10/10",
                "molecules": self.molecules,
                "left_out": self.left_out,
                "pretrained_on": self.recipe.pretrain,
            },
            "recipe": asdict(self.recipe),
            "pretraining": None if self.pretraining is None else self.pretraining.card(),
            "training": {
                "parameters": self.parameters,
                "steps": self.steps,
                "best_step": self.best_step,
                "temperatures": self.temperatures,
                **self.reached.card(),
            },
            "software": software(),
            "measured": self.measured,
        }

    def entry(self, product: Product) -> ModelEntry:
        """The registry's entry."""
        return ModelEntry(
            name=product.name,
            task=Task.PREDICT,
            engine=EngineKind.CLASSIFIER,
            weights=Weights(path=product.model.resolve()),
            licence=self.licence,
            description=f"An encoder over SMILES, {self.parameters / 1e6:.1f}M parameters, fine-tuned on "
            f"{Path(self.recipe.data).name}.",
            endpoints=tuple(Endpoint(name=task, kind=self.kind) for task in self.tasks),
            trained_on=self.trained_on,
            limits=Limits(
                batch_rows=256, batch_size=50_000, token_budget=8192, max_rows=256, max_tokens=self.recipe.longest + 2
            ),
        )


def as_markdown(card: dict[str, Any]) -> str:
    """The card as `README.md` has it."""
    data, recipe, training = card["data"], card["recipe"], card["training"]
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in data["left_out"].items())
    before = card["pretraining"]
    facts = {
        "made by": f"`{card['command']}`",
        "data": f"{data['source']}, {len(data['tasks'])} tasks: "
        + ", ".join(f"{count:,} molecules for {name}" for name, count in data["molecules"].items()),
        "split": f"{data['split']}: whole scaffolds, the rarest are tested on",
        "left out": left_out or "none",
        "licence of the data": data["licence"] or "not stated",
        "pretrained on": data["pretrained_on"] or "nothing",
        "training": f"step {training['best_step']:,} of {training['steps']:,}, the best on the validation part",
        "precision, seed": f"{recipe['precision']}, {recipe['seed']}",
        "time": time_taken(training),
        "software": listed(card["software"]),
    }
    if before:
        facts["pretraining"] = f"{before['step']:,} steps, {before['tokens']:,} tokens; {time_taken(before)}"
    read_as = (
        "Probabilities are calibrated by a temperature a task, on the validation part; they are a model's guess, no "
        "measurement."
        if data["kind"] == "probability"
        else "Values are in the units of the data."
    )
    return f"""# {card["model"]}

An encoder over SMILES, {training["parameters"]:,} parameters, with one output a task, for sciqueue's engine
`{card["engine"]}`. Its weights are kept in fp16, and computed with in fp32. {read_as}

{table(facts)}

## On molecules of other scaffolds

Each figure is followed by that of {baseline.NAME}, which learnt from the same molecules.

{_figures(card["measured"], data["kind"])}
The model does not tell how far a molecule lies from those that it learnt from; molecules unlike them are out of its
reach.
"""


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
