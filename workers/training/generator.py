"""Training a generator: a Llama-shaped causal language model over SMILES, by the `Trainer` of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, LlamaConfig

from workers.engines.pretrained import read_model
from workers.training.batches import WIDTHS, Collate, LengthBatches, Molecules, widths
from workers.training.card import Training, as_markdown
from workers.training.checkpoints import last_whole
from workers.training.describing import describe, keep, opening
from workers.training.held_out import hold_out, mean_loss
from workers.training.loop import Plan, learn
from workers.training.product import Product
from workers.training.progress import tell
from workers.training.recipe import HEAD, Recipe
from workers.training.samples import look_at_samples
from workers.training.smiles_source import SmilesSource
from workers.training.vocabulary import Encoded, encode, learn_tokenizer

HELD_OUT = 2_000  # rows, at most a tenth of all, for the validation loss
_CLASS = "AutoModelForCausalLM"


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
    training, held_out = map(known.chosen, hold_out(len(known), HELD_OUT, recipe.seed, known.left_out))
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
    tell(opening(f"{about.rows:,} molecules to learn from, {about.held_out:,} held out", about, begun))
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
        saved=lambda checkpoint: keep(
            product, about, checkpoint, _CLASS, as_markdown, lambda: _loss(product.model, held_out, collate)
        ),
    )
    about.measured = look_at_samples(about.entry(product), source.rows(recipe.limit))
    describe(product, about, as_markdown)
    return about


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


def _loss(folder: Path, rows: Encoded, collate: Collate) -> float:
    """The mean negative log-likelihood of a token, in nats, by the weights as they were saved, in fp32."""
    model = read_model(_CLASS, folder, dtype="float32", device="cpu")
    order = np.argsort(rows.lengths, kind="stable")
    parts = (order[begin : begin + 256] for begin in range(0, len(order), 256))
    return mean_loss(model, (collate([rows.row(int(at)) for at in part]) for part in parts), first=1)
