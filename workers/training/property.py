"""Training a property model: an encoder over SMILES, pretrained and then fine-tuned on all tasks of a table at once.

By several seeds the fine-tuning makes an ensemble, whose members have the pretrained encoder in common.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from schemas import ensemble
from schemas.files import write_whole
from workers.engines.nearest import Learnt
from workers.training.checkpoints import last_whole
from workers.training.describing import describe, opening
from workers.training.encoder import pretrain
from workers.training.heads import fold, temperatures
from workers.training.labelled import Labelled
from workers.training.product import Product
from workers.training.progress import tell
from workers.training.property_card import MemberReached, PropertyTraining, as_markdown
from workers.training.property_data import Prepared, prepare
from workers.training.property_judge import measured
from workers.training.property_member import Member, batches_of, fine_tune, untrained
from workers.training.property_recipe import PropertyRecipe
from workers.training.quality import Values
from workers.training.smiles_source import SmilesSource


def train(
    recipe: PropertyRecipe,
    known: Labelled,
    source: SmilesSource | Path | None,
    licence: str,
    product: Product,
    *,
    save_seconds: float,
) -> PropertyTraining:
    """Train until the recipe's end, from the last checkpoints in the product's folder if there are any.

    `source` is what to pretrain on, or the folder of an encoder that was pretrained before. A run that has ended is
    only judged and described anew. The same recipe on the same number of threads gives the same weights, however often
    the run was broken off.

    Raises:
        UsageError: there are too few usable molecules.  ModelUnavailable: the encoder's folder cannot be read.
    """
    ready = prepare(recipe, known, source)
    encoder: Path | None = source if isinstance(source, Path) else None
    pretraining = None
    if isinstance(source, SmilesSource):
        folder = product.folder / "pretrained"
        encoder, pretraining = pretrain(recipe, source, ready.smiles_of("train"), ready.tokenizer, folder, save_seconds)
    about = PropertyTraining(
        recipe=recipe,
        licence=licence,
        tasks=known.tasks,
        kind=known.kind,
        molecules={name: len(part) for name, part in ready.split.usable.items()},
        left_out=ready.left_out,
        parameters=untrained(recipe, ready, encoder, recipe.seed).num_parameters(),
        steps=max(1, round(recipe.epochs * len(batches_of(recipe, ready, recipe.seed)))),
        pretraining=pretraining,
    )
    tell(_tasks(known))
    members = []
    for seed in recipe.seeds:
        checkpoints = product.folder / _member(recipe, seed) / "checkpoints"
        who = "molecules" if recipe.members == 1 else f"the member of seed {seed}, molecules"
        tell(opening(f"{who}: {_sizes(about)}", about, last_whole(checkpoints)))
        members.append(fine_tune(recipe, ready, encoder, seed, about.steps, checkpoints, save_seconds=save_seconds))
    about.members = [MemberReached(one.seed, one.best_step, one.reached) for one in members]
    found = _save(recipe, ready, members, product)
    if found is not None:
        about.temperatures = {task: round(float(one), 3) for task, one in zip(known.tasks, found, strict=True)}
    tell("judging, beside a random forest")
    about.measured = measured(ready, product.model, found)
    describe(product, about, as_markdown)
    return about


def _save(recipe: PropertyRecipe, ready: Prepared, members: list[Member], product: Product) -> Values | None:
    """Make the members the product's model, calibrated together; the temperatures, (tasks,), of probabilities."""
    scale, found = ready.scale, None
    if ready.known.kind == "probability":
        found = temperatures(np.stack([one.validation for one in members]), ready.labels_of("validation"))
        scale = 1 / found
    for one in members:
        fold(one.model, scale, ready.shift)
        # The engine computes with it in fp32.
        product.take(one.model.to(dtype=torch.float16), one.checkpoint, _member(recipe, one.seed))
    Learnt.of(ready.smiles_of("train")).save(product.model)
    if recipe.members > 1:
        names = [_member(recipe, seed) for seed in recipe.seeds]
        write_whole(product.model / ensemble.FILE, ensemble.as_json(names))
    return found


def _member(recipe: PropertyRecipe, seed: int) -> str:
    """The folder of a member, in the run's and in the model's; a single model has none of its own."""
    return "" if recipe.members == 1 else f"member-{seed}"


def _tasks(known: Labelled) -> str:
    others = f"; columns that are no tasks: {', '.join(known.other_columns)}" if known.other_columns else ""
    return f"{len(known.tasks)} tasks ({known.kind}): {', '.join(known.tasks)}{others}"


def _sizes(about: PropertyTraining) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in about.molecules.items())
