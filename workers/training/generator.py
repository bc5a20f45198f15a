"""Training a generator: a Llama-shaped causal language model over SMILES, by the `Trainer` of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, LlamaConfig

from schemas.errors import UsageError
from workers.engines.pretrained import read_model
from workers.training.batches import WIDTHS, Collate, LengthBatches, Molecules, widths
from workers.training.card import Training, as_markdown
from workers.training.checkpoints import last_whole
from workers.training.loop import Plan, learn, step_of
from workers.training.product import Product
from workers.training.progress import tell
from workers.training.reached import Reached
from workers.training.recipe import HEAD, Recipe
from workers.training.samples import look_at_samples
from workers.training.smiles_source import SmilesSource
from workers.training.vocabulary import Encoded, encode, learn_tokenizer

HELD_OUT = 2_000  # rows, at most a tenth of all, for the validation loss


def train(recipe: Recipe, source: SmilesSource, product: Product, *, compiled: bool, save_seconds: float) -> Training:
    """Train until the recipe's end, from the last checkpoint in the product's folder if there is one.

    A run that has ended is only described anew. The same recipe on the same number of threads gives the same weights,
    however often the run was broken off.

    Raises:
        UsageError: there are too few usable rows.
    """
    checkpoints = product.folder / "checkpoints"
    begun = last_whole(checkpoints)
    tokenizer = learn_tokenizer(source.rows(recipe.limit))
    known = encode(tokenizer, source.rows(recipe.limit), longest=recipe.longest)
    training, held_out = _split(known, recipe.seed)
    shapes = widths(known.lengths)
    batches = LengthBatches(training.lengths, shapes, recipe.batch, recipe.seed)
    collate = Collate(shapes, pad=tokenizer.pad_token_id, begin=tokenizer.bos_token_id, end=tokenizer.eos_token_id)
    torch.manual_seed(recipe.seed)
    model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        _config(recipe, tokenizer),
        # Rows are short: on a CPU in bf16, torch's fused attention took half of a step, the plain one takes a tenth.
        attn_implementation="sdpa" if torch.cuda.is_available() else "eager",
    )
    steps = max(1, round(recipe.epochs * len(batches)))
    about = Training(
        recipe=recipe,
        licence=source.licence,
        rows=len(training),
        held_out=len(held_out),
        left_out=known.left_out,
        parameters=model.num_parameters(),
        steps=steps,
    )
    tell(_opening(about, begun))

    def saved(checkpoint: Path) -> None:
        # In fp16, which the engine computes with in fp32.
        product.take(AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float16), checkpoint)
        about.reached = Reached.read(checkpoint)
        about.validation_loss = _mean_loss(product.model, held_out, collate)
        _describe(product, about)
        tell(f"step {about.reached.step:,}: saved, validation loss {about.validation_loss:.4f}")

    if compiled:
        torch._dynamo.config.recompile_limit = 2 * WIDTHS  # a graph each, and each before there are gradients
        model.compile(dynamic=False)  # in place: its weights keep their names
    learn(
        Plan(steps, batches.batch_size, recipe.learning_rate, recipe.precision, recipe.seed),
        model,
        tokenizer,
        DataLoader(Molecules(training), batch_sampler=batches, collate_fn=collate),
        checkpoints,
        begun,
        save_seconds=save_seconds,
        saved=saved,
    )
    about.measured = look_at_samples(about.entry(product), source.rows(recipe.limit))
    _describe(product, about)
    return about


def _describe(product: Product, about: Training) -> None:
    card = about.card(product.name)
    product.describe(card, as_markdown(card), about.entry(product))


def _split(known: Encoded, seed: int) -> tuple[Encoded, Encoded]:
    """The rows to learn from and those held out."""
    if len(known) < 2:
        raise UsageError(f"{len(known)} usable rows are too few; left out: {known.left_out or 'none'}")
    order = np.random.default_rng(seed).permutation(len(known))
    out = min(HELD_OUT, max(1, len(known) // 10))
    return known.chosen(np.sort(order[out:])), known.chosen(np.sort(order[:out]))


def _config(recipe: Recipe, tokenizer: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        intermediate_size=recipe.inner,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.width // HEAD,
        max_position_embeddings=recipe.longest + 2,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _mean_loss(folder: Path, rows: Encoded, collate: Collate) -> float:
    """The mean negative log-likelihood of a token, in nats, by the weights as they were saved, in fp32."""
    model = read_model("AutoModelForCausalLM", folder, dtype="float32", device="cpu")
    total = tokens = 0.0
    order = np.argsort(rows.lengths, kind="stable")
    with torch.inference_mode():
        for begin in range(0, len(order), 256):
            batch = collate([rows.row(int(at)) for at in order[begin : begin + 256]])
            learnt = int((batch["labels"][:, 1:] >= 0).sum())
            total += float(model(**batch).loss) * learnt
            tokens += learnt
    return total / tokens


def _opening(about: Training, begun: Path | None) -> str:
    left = "; ".join(f"{count:,} {reason}" for reason, count in about.left_out.items())
    return (
        f"{about.rows:,} molecules to learn from, {about.held_out:,} held out, left out: {left or 'none'}; "
        f"{about.parameters:,} parameters, {about.steps:,} steps"
        + (f", going on after step {step_of(begun):,}" if begun else "")
    )
