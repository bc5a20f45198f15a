"""Training a property model: an encoder over SMILES, pretrained and then fine-tuned on all tasks of a table at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from transformers import AutoConfig, AutoModelForSequenceClassification, logging

from workers.engines.padding import Ids, pad, passes
from workers.engines.pretrained import read_model, read_tokenizer
from workers.training.batches import LengthBatches, widths
from workers.training.best import Best
from workers.training.checkpoints import last_whole
from workers.training.encoder import ATTENTION, pretrain, shape
from workers.training.heads import fold, masked_loss, temperatures
from workers.training.labelled import Labelled, Split, split
from workers.training.labelled_batches import CollateLabelled, LabelledMolecules
from workers.training.loop import Plan, learn, step_of
from workers.training.product import Product
from workers.training.progress import tell
from workers.training.property_card import PropertyTraining, as_markdown
from workers.training.property_recipe import PropertyRecipe
from workers.training.quality import Values, ecfp4, figures, forest
from workers.training.random_smiles import RandomSmiles
from workers.training.reached import Reached
from workers.training.smiles_source import SmilesSource
from workers.training.vocabulary import encode_each, learn_tokenizer

_PROBLEMS = {"probability": "multi_label_classification", "regression": "regression"}
_DROPOUTS = ("embedding_dropout", "mlp_dropout", "attention_dropout", "classifier_dropout", "hidden_dropout_prob")
_PASS_TOKENS = 8_192  # padded tokens of a forward pass when judging


@dataclass(frozen=True, slots=True)
class Prepared:
    """The table's molecules as the model reads them: ids with start and end, () where it cannot, and the split."""

    known: Labelled
    texts: list[Ids]
    split: Split
    left_out: dict[str, int]


def train(
    recipe: PropertyRecipe,
    known: Labelled,
    source: SmilesSource | Path | None,
    licence: str,
    product: Product,
    *,
    save_seconds: float,
) -> PropertyTraining:
    """Train until the recipe's end, from the last checkpoint in the product's folder if there is one.

    `source` is what to pretrain on, or the folder of an encoder that was pretrained before. A run that has ended is
    only judged and described anew. The same recipe on the same number of threads gives the same weights, however often
    the run was broken off.

    Raises:
        UsageError: there are too few usable molecules.  ModelUnavailable: the encoder's folder cannot be read.
    """
    tokenizer = _tokenizer(recipe, known, source)
    ready = _prepared(known, tokenizer, recipe.longest)
    parts = ready.split.usable
    learnt = [known.smiles[at] for at in parts["train"]]
    encoder: Path | None = source if isinstance(source, Path) else None
    pretraining = None
    if isinstance(source, SmilesSource):
        folder = product.folder / "pretrained"
        encoder, pretraining = pretrain(recipe, source, learnt, tokenizer, folder, save_seconds)
    checkpoints = product.folder / "checkpoints"
    begun = last_whole(checkpoints)
    model = _model(recipe, known, tokenizer, encoder)
    texts = [ready.texts[at] for at in parts["train"]]
    lengths = np.array([len(text) for text in texts])
    batches = LengthBatches(lengths, widths(lengths), recipe.batch, recipe.seed)
    labels, scale, shift = _targets(known, parts["train"])
    about = PropertyTraining(
        recipe=recipe,
        licence=licence,
        tasks=known.tasks,
        kind=known.kind,
        molecules={name: len(part) for name, part in parts.items()},
        left_out=ready.left_out,
        parameters=model.num_parameters(),
        steps=max(1, round(recipe.epochs * len(batches))),
        pretraining=pretraining,
    )
    tell(_opening(about, known, begun))

    def judge(current: Any) -> float:
        outputs = _outputs(current, [ready.texts[at] for at in parts["validation"]], tokenizer.pad_token_id)
        found = figures(known.kind, known.tasks, labels[parts["validation"]], _read(known.kind, outputs))["mean"]
        score = found["ROC-AUC"] if known.kind == "probability" else found["RMSE"]
        return float("-inf") if score is None else score if known.kind == "probability" else -score

    best = Best(judge, len(batches), checkpoints, begun)
    learn(
        Plan(about.steps, batches.batch_size, recipe.learning_rate, recipe.precision, recipe.seed),
        model,
        tokenizer,
        DataLoader(
            LabelledMolecules(
                learnt,
                texts,
                labels[parts["train"]],
                batches,
                RandomSmiles(tokenizer, recipe.longest, framed=True) if recipe.augment else None,
            ),
            batch_sampler=batches,
            collate_fn=CollateLabelled(tokenizer.pad_token_id),
        ),
        checkpoints,
        begun,
        save_seconds=save_seconds,
        saved=lambda checkpoint: tell(f"step {step_of(checkpoint):,}: saved"),
        loss=lambda outputs, truth, **_: masked_loss(known.kind, outputs.logits, truth),
        callbacks=[best],
    )
    ended = last_whole(checkpoints)
    assert ended is not None  # noqa: S101 - the loop ends with a checkpoint
    about.reached, about.best_step = Reached.read(ended), best.step
    model.load_state_dict(best.weights)
    if known.kind == "probability":
        places = parts["validation"]
        outputs = _outputs(model, [ready.texts[at] for at in places], tokenizer.pad_token_id)
        scale = 1 / temperatures(outputs, known.labels[places])
        about.temperatures = {task: round(float(1 / one), 3) for task, one in zip(known.tasks, scale, strict=True)}
    fold(model, scale, shift)
    product.take(model.to(device="cpu", dtype=torch.float16), ended)  # the engine computes with it in fp32
    tell("judging, beside a random forest")
    about.measured = _measured(ready, product, tokenizer.pad_token_id)
    card = about.card(product.name)
    product.describe(card, as_markdown(card), about.entry(product))
    return about


def _tokenizer(recipe: PropertyRecipe, known: Labelled, source: SmilesSource | Path | None) -> Any:
    """An encoder's own, or one that knows each token of all molecules there are, however they are written."""
    if isinstance(source, Path):
        return read_tokenizer(source)
    rows: Iterator[str] = (one for one in known.smiles if one)
    if source is not None:
        rows = chain(rows, source.rows(recipe.pretrain_limit))
    tokenizer = learn_tokenizer(rows, masks=True)
    tokenizer.model_max_length = recipe.longest + 2
    return tokenizer


def _prepared(known: Labelled, tokenizer: Any, longest: int) -> Prepared:
    texts: list[Ids] = []
    reasons: list[str] = []
    left_out = dict(known.left_out)
    framed = tokenizer.backend_tokenizer.encode_batch(known.smiles)
    for (_, reason), refused, text in zip(
        encode_each(tokenizer, known.smiles, longest), known.refused, framed, strict=True
    ):
        why = refused or reason
        texts.append(() if why else tuple(text.ids))
        reasons.append(why)
        if why:
            left_out[why] = left_out.get(why, 0) + 1
    return Prepared(known, texts, split(known, reasons), left_out)


def _model(recipe: PropertyRecipe, known: Labelled, tokenizer: Any, encoder: Path | None) -> Any:
    """The encoder, or one drawn at random, with a head drawn at random."""
    config = shape(recipe, tokenizer) if encoder is None else AutoConfig.from_pretrained(encoder)
    config.problem_type = _PROBLEMS[known.kind]
    config.id2label = dict(enumerate(known.tasks))
    config.label2id = {task: at for at, task in enumerate(known.tasks)}
    if hasattr(config, "classifier_pooling"):
        config.classifier_pooling = "mean"
    for name in _DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, recipe.dropout)
    torch.manual_seed(recipe.seed)
    if encoder is None:
        return AutoModelForSequenceClassification.from_config(config, attn_implementation=ATTENTION)  # type: ignore[no-untyped-call]
    # No warnings that the head is new and that the one for masks is gone.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    return AutoModelForSequenceClassification.from_pretrained(
        encoder, config=config, attn_implementation=ATTENTION, dtype=torch.float32
    )


def _targets(known: Labelled, train: NDArray[np.int64]) -> tuple[Values, Values, Values]:
    """Labels to learn, and the scale and shift that bring outputs back into the labels' units, (tasks,) both."""
    ones, zeros = np.ones(len(known.tasks)), np.zeros(len(known.tasks))
    if known.kind == "probability":
        return known.labels, ones, zeros
    mean = np.array([np.nanmean(c) if not np.isnan(c).all() else 0.0 for c in known.labels[train].T])
    spread = np.array([np.nanstd(c) if not np.isnan(c).all() else 1.0 for c in known.labels[train].T])
    spread[spread == 0] = 1.0
    return (known.labels - mean) / spread, spread, mean


def _outputs(model: Any, texts: Sequence[Ids], filler: int) -> Values:
    """The model's outputs in fp32, (texts, tasks), in the texts' order; it is left in the mode that it was in."""
    was = model.training
    model.eval()
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    found = []
    with torch.inference_mode():
        for part in passes([texts[at] for at in order], _PASS_TOKENS):
            ids, mask = pad(part, filler, model.device)
            found.append(model(input_ids=ids, attention_mask=mask).logits.float().cpu())
    model.train(was)
    outputs = torch.cat(found).numpy().astype(np.float64)
    back = np.empty_like(outputs)
    back[order] = outputs
    return back


def _read(kind: str, outputs: Values) -> Values:
    return 1 / (1 + np.exp(-outputs)) if kind == "probability" else outputs


def _measured(ready: Prepared, product: Product, filler: int) -> dict[str, Any]:
    """Scores on the parts that were not learnt from, of the weights as they were saved, and of the baseline.

    The baseline also learns from what the model refuses, as it does in `sciqueue evaluate`.
    """
    known, parts = ready.known, ready.split.usable
    model = read_model("AutoModelForSequenceClassification", product.model, dtype="float32", device="cpu")
    places = np.concatenate([parts["validation"], parts["test"]])
    theirs = forest(known.kind, ecfp4(ready.split.names), known.labels, ready.split.parts["train"], places)
    ours = _read(known.kind, _outputs(model, [ready.texts[at] for at in places], filler))
    cut = len(parts["validation"])
    judged = partial(figures, known.kind, known.tasks)
    return {
        name: {
            "labels": dict(zip(known.tasks, (~np.isnan(known.labels[places[part]])).sum(0).tolist(), strict=True)),
            "model": judged(known.labels[places[part]], ours[part]),
            "baseline": judged(known.labels[places[part]], theirs[part]),
        }
        for name, part in (("validation", slice(None, cut)), ("test", slice(cut, None)))
    }


def _opening(about: PropertyTraining, known: Labelled, begun: Path | None) -> str:
    left = "; ".join(f"{count:,} {reason}" for reason, count in about.left_out.items())
    sizes = ", ".join(f"{count:,} {name}" for name, count in about.molecules.items())
    others = f"; columns that are no tasks: {', '.join(known.other_columns)}" if known.other_columns else ""
    return (
        f"{len(known.tasks)} tasks ({known.kind}): {', '.join(known.tasks)}{others}\n"
        f"molecules: {sizes}; left out: {left or 'none'}; {about.parameters:,} parameters, {about.steps:,} steps"
        + (f", going on after step {step_of(begun):,}" if begun else "")
    )
