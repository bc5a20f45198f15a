"""Fine-tuning one member of a property model, by its own seed: the encoder, a new head, and its best step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import AutoConfig, AutoModelForSequenceClassification, logging

from workers.training.batches import LengthBatches, widths
from workers.training.best import Best
from workers.training.checkpoints import last_whole
from workers.training.encoder import ATTENTION, shape
from workers.training.heads import masked_loss
from workers.training.labelled_batches import CollateLabelled, LabelledMolecules
from workers.training.loop import Plan, learn, step_of
from workers.training.molecule_outputs import outputs, read
from workers.training.progress import tell
from workers.training.property_data import Prepared
from workers.training.property_recipe import PropertyRecipe
from workers.training.quality import Values, figures
from workers.training.random_smiles import RandomSmiles
from workers.training.reached import Reached

_PROBLEMS = {"probability": "multi_label_classification", "regression": "regression"}
_DROPOUTS = ("embedding_dropout", "mlp_dropout", "attention_dropout", "classifier_dropout", "hidden_dropout_prob")


@dataclass(frozen=True, slots=True)
class Member:
    """A model with the weights of its best step on the validation part, and its run's last checkpoint.

    `validation` is its outputs there, (molecules, tasks).
    """

    seed: int
    model: Any
    validation: Values
    best_step: int
    reached: Reached
    checkpoint: Path


def batches_of(recipe: PropertyRecipe, ready: Prepared, seed: int) -> LengthBatches:
    """The order in which a member sees the molecules to learn from."""
    lengths = np.array([len(text) for text in ready.texts_of("train")])
    return LengthBatches(lengths, widths(lengths), recipe.batch, seed)


def untrained(recipe: PropertyRecipe, ready: Prepared, encoder: Path | None, seed: int) -> Any:
    """The encoder in a folder, or one drawn at random, with a head drawn at random."""
    known = ready.known
    config = shape(recipe, ready.tokenizer) if encoder is None else AutoConfig.from_pretrained(encoder)
    config.problem_type = _PROBLEMS[known.kind]
    config.id2label = dict(enumerate(known.tasks))
    config.label2id = {task: at for at, task in enumerate(known.tasks)}
    config.use_cache = False  # as the Trainer sets it, to which a run that goes on behind its last step does not come
    if hasattr(config, "classifier_pooling"):
        config.classifier_pooling = "mean"
    for name in _DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, recipe.dropout)
    torch.manual_seed(seed)
    if encoder is None:
        return AutoModelForSequenceClassification.from_config(config, attn_implementation=ATTENTION)  # type: ignore[no-untyped-call]
    # No warnings that the head is new and that the one for masks is gone.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    return AutoModelForSequenceClassification.from_pretrained(
        encoder, config=config, attn_implementation=ATTENTION, dtype=torch.float32
    )


def fine_tune(
    recipe: PropertyRecipe,
    ready: Prepared,
    encoder: Path | None,
    seed: int,
    steps: int,
    checkpoints: Path,
    *,
    save_seconds: float,
) -> Member:
    """Learn for so many steps, from the last whole checkpoint in the folder if there is one."""
    known, pad = ready.known, ready.tokenizer.pad_token_id
    begun = last_whole(checkpoints)
    model = untrained(recipe, ready, encoder, seed)
    batches = batches_of(recipe, ready, seed)

    def judge(current: Any) -> float:
        said = read(known.kind, outputs(current, ready.texts_of("validation"), pad))
        # In the units that are learnt, so that no task counts more than another.
        found = figures(known.kind, known.tasks, ready.targets[ready.split.usable["validation"]], said)["mean"]
        score = found["ROC-AUC"] if known.kind == "probability" else found["RMSE"]
        return float("-inf") if score is None else score if known.kind == "probability" else -score

    best = Best(judge, len(batches), checkpoints, begun)
    learn(
        Plan(steps, batches.batch_size, recipe.learning_rate, recipe.precision, seed),
        model,
        ready.tokenizer,
        DataLoader(
            LabelledMolecules(
                ready.smiles_of("train"),
                ready.texts_of("train"),
                ready.targets[ready.split.usable["train"]],
                batches,
                RandomSmiles(ready.tokenizer, recipe.longest, framed=True) if recipe.augment else None,
            ),
            batch_sampler=batches,
            collate_fn=CollateLabelled(pad),
        ),
        checkpoints,
        begun,
        save_seconds=save_seconds,
        saved=lambda checkpoint: tell(f"step {step_of(checkpoint):,}: saved"),
        loss=lambda said, truth, **_: masked_loss(known.kind, said.logits, truth),
        callbacks=[best],
    )
    ended = last_whole(checkpoints)
    assert ended is not None  # noqa: S101 - the loop ends with a checkpoint
    model.load_state_dict(best.weights)
    validation = outputs(model, ready.texts_of("validation"), pad)
    return Member(seed, model.to("cpu"), validation, best.step, Reached.read(ended), ended)
