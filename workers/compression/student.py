"""A student with fewer layers, which learns to say what a sequence classifier says: probabilities or values."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification

from schemas.ensemble import members
from schemas.errors import UsageError
from schemas.registry import ModelEntry, Weights
from workers.compression.judge import said
from workers.engines.nearest import ENDPOINT
from workers.engines.pretrained import read_model, read_tokenizer
from workers.training.batches import LengthBatches, widths
from workers.training.checkpoints import last_whole
from workers.training.heads import masked_loss
from workers.training.labelled_batches import CollateLabelled, LabelledMolecules
from workers.training.loop import Plan, learn, step_of
from workers.training.product import Product
from workers.training.progress import tell
from workers.weights import locate

_CLASS = "AutoModelForSequenceClassification"
_KINDS = {"multi_label_classification": "probability", "regression": "regression"}


@dataclass(frozen=True, slots=True)
class StudentRecipe:
    """What a student is made of, as the run's folder keeps it. `rows` of the data follow the `skipped` first ones."""

    teacher: str
    revision: str
    data: str
    sha256: str
    skipped: int
    rows: int
    layers: int
    epochs: float
    learning_rate: float = 5e-4
    batch: int = 32
    precision: Literal["fp32"] = "fp32"
    seed: int = 0


def distill(
    recipe: StudentRecipe, teacher: ModelEntry, smiles: Sequence[str], product: Product, *, save_seconds: float
) -> ModelEntry:
    """Learn from the teacher until the recipe's end, from the last whole checkpoint if there is one; the entry.

    Of an ensemble the student learns the mean, and begins as its first member.

    Raises:
        UsageError: the teacher has no more layers than the student, or its classes exclude each other.
        ModelUnavailable: the teacher cannot be loaded.
    """
    folder = locate(teacher.weights)
    first = read_model(_CLASS, members(folder)[0], dtype="float32", device="cpu")
    if first.config.problem_type not in _KINDS:
        raise UsageError(f"model '{teacher.name}': a student learns from tasks or values, not from classes")
    kind = _KINDS[first.config.problem_type]
    model = shortened(first, recipe.layers)
    tokenizer = read_tokenizer(members(folder)[0])
    tell(f"{teacher.name} predicts {len(smiles):,} molecules to learn from")
    molecules, values = said(teacher, smiles)
    if len(molecules) < 2:
        raise UsageError(f"{len(molecules)} molecules that the model can read are too few to learn from")
    lengths = np.array([len(one.ids) for one in molecules])
    batches = LengthBatches(lengths, widths(lengths), recipe.batch, recipe.seed)
    checkpoints = product.folder / "checkpoints"

    def take(checkpoint: Any) -> None:
        # The engine computes with it in fp32.
        product.take(AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float16), checkpoint)
        tell(f"step {step_of(checkpoint):,}: saved")

    learn(
        Plan(
            max(1, round(recipe.epochs * len(batches))),
            batches.batch_size,
            recipe.learning_rate,
            recipe.precision,
            recipe.seed,
        ),
        model,
        tokenizer,
        DataLoader(
            LabelledMolecules(
                [one.smiles for one in molecules],
                [one.ids for one in molecules],
                values[:, _order(teacher, first.config)],
                batches,
                None,
            ),
            batch_sampler=batches,
            collate_fn=CollateLabelled(tokenizer.pad_token_id),
        ),
        checkpoints,
        last_whole(checkpoints),
        save_seconds=save_seconds,
        saved=take,
        # Cross-entropy with the teacher's probabilities: its divergence from them, but for a constant.
        loss=lambda outputs, truth, **_: masked_loss(kind, outputs.logits, truth),
    )
    if (folder / "learnt.safetensors").is_file():
        shutil.copy(folder / "learnt.safetensors", product.model)
    return teacher.model_copy(
        update={
            "name": product.name,
            "weights": Weights(path=product.model.resolve()),
            "precision": "fp32",
            "default": False,
            "description": f"A student of {teacher.name}, with {recipe.layers} of its {_layers(first)} layers.",
        }
    )


def shortened(model: Any, layers: int) -> Any:
    """A copy with so many of a model's layers, evenly chosen, the first among them.

    Raises:
        UsageError: it has not so many, or none that can be told.
    """
    held = _layers(model)
    names = [name for name, part in model.named_modules() if isinstance(part, nn.ModuleList) and len(part) == held]
    if layers >= held or len(names) != 1:
        raise UsageError(f"--student-layers {layers}: the teacher has {held} layers; give fewer")
    kept = np.linspace(0, held - 1, layers).round().astype(int).tolist()
    config = copy.deepcopy(model.config)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[at] for at in kept]
    config.num_hidden_layers = layers
    # transformers has no types here
    student = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    weights = {}
    for name, tensor in model.state_dict().items():
        if not name.startswith(f"{names[0]}."):
            weights[name] = tensor
            continue
        number, _, rest = name.removeprefix(f"{names[0]}.").partition(".")
        if int(number) in kept:
            weights[f"{names[0]}.{kept.index(int(number))}.{rest}"] = tensor
    student.load_state_dict(weights)
    return student


def _layers(model: Any) -> int:
    return int(model.config.num_hidden_layers)


def _order(teacher: ModelEntry, config: Any) -> list[int]:
    """For each label of the model, the endpoint's column: by name, or as they stand where the model names none."""
    columns = {one.name: at for at, one in enumerate(teacher.endpoints) if one.name != ENDPOINT.name}
    labels = [config.id2label[at] for at in range(config.num_labels)]
    return [columns[label] for label in labels] if columns.keys() == set(labels) else list(columns.values())
