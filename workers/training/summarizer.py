"""Fine-tuning a summarizer: any encoder-decoder on papers and what shall be written of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import DataCollatorForSeq2Seq

from schemas.errors import UsageError
from workers.engines.pretrained import read_model, read_tokenizer
from workers.engines.seq2seq import positions
from workers.training.article import Articles, Example
from workers.training.base import Base
from workers.training.batches import IGNORED, LengthBatches, widths
from workers.training.checkpoints import last_whole
from workers.training.describing import describe, keep, opening
from workers.training.held_out import hold_out, mean_loss
from workers.training.loop import Plan, learn
from workers.training.paper_source import Pair, PaperSource
from workers.training.product import Product
from workers.training.progress import tell
from workers.training.rouge_held_out import judge
from workers.training.summarizer_card import SummarizerTraining, as_markdown
from workers.training.summarizer_recipe import SummarizerRecipe

HELD_OUT = 100  # papers, at most a tenth of all: each is summarized at the end
_CLASS = "AutoModelForSeq2SeqLM"
_JUDGED_AT_ONCE = 4  # papers, for the validation loss


class Examples(Dataset[dict[str, list[int]]]):
    """What a model learns from, for a `DataLoader`."""

    def __init__(self, examples: list[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, at: int) -> dict[str, list[int]]:
        one = self._examples[at]
        return {
            "input_ids": one.source.tolist(),
            "attention_mask": [1] * len(one.source),
            "labels": one.target.tolist(),
        }


def train(
    recipe: SummarizerRecipe, source: PaperSource, base: Base, product: Product, *, save_seconds: float
) -> SummarizerTraining:
    """Fine-tune until the recipe's end, from the last checkpoint in the product's folder if there is one.

    A run that has ended is only judged and described anew. The same recipe on the same number of threads gives the same
    weights, however often the run was broken off.

    Raises:
        UsageError: there are too few usable rows, or the model reads or writes fewer tokens than the recipe asks for.
        ModelUnavailable: the base cannot be read.
    """
    checkpoints = product.folder / "checkpoints"
    begun = last_whole(checkpoints)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = read_tokenizer(base.folder)
    model = read_model(_CLASS, base.folder, dtype="float32", device=device)
    _compare_lengths(recipe, model)
    # T5 has no positions, only distances, so it reads as far as it was trained to; the engine heeds this number.
    tokenizer.model_max_length = max(tokenizer.model_max_length, recipe.source_tokens)
    examples, left_out = _examples(recipe, source, tokenizer)
    places = hold_out(len(examples), HELD_OUT, recipe.seed, left_out)
    learnt, held_out = ([examples[at] for at in part] for part in places)
    lengths = np.array([len(one.source) for one in learnt])
    batches = LengthBatches(lengths, widths(lengths), recipe.batch, recipe.seed)
    collate = padding_collator(tokenizer, model)
    about = SummarizerTraining(
        recipe=recipe,
        licence=source.licence,
        rows=len(learnt),
        held_out=len(held_out),
        left_out=left_out,
        parameters=model.num_parameters(),
        steps=max(1, round(recipe.epochs * len(batches))),
    )
    tell(opening(f"{about.rows:,} papers to learn from, {about.held_out:,} held out", about, begun))
    learn(
        Plan(
            about.steps,
            batches.batch_size,
            recipe.learning_rate,
            recipe.precision,
            recipe.seed,
            weight_decay=recipe.weight_decay,
            rows="papers",
        ),
        model,
        tokenizer,
        DataLoader(Examples(learnt), batch_sampler=batches, collate_fn=collate),
        checkpoints,
        begun,
        save_seconds=save_seconds,
        saved=lambda checkpoint: keep(
            product, about, checkpoint, _CLASS, as_markdown, lambda: loss_on(product.model, held_out, collate, device)
        ),
    )
    tell(f"summarizing {len(held_out)} papers that were held out", passing=True)
    about.rouge, about.judged = judge(about.entry(product), _pairs(source, recipe.limit, held_out), device)
    describe(product, about, as_markdown)
    tell(_closing(about))
    return about


def padding_collator(tokenizer: Any, model: Any = None) -> DataCollatorForSeq2Seq:
    """Pads rows to their longest, labels with what is no label; adds what the decoder of `model`, if given, reads."""
    return DataCollatorForSeq2Seq(tokenizer, model=model, label_pad_token_id=IGNORED)


def loss_on(folder: Path, examples: list[Example], collate: DataCollatorForSeq2Seq, device: str) -> float:
    """The mean negative log-likelihood of a target's token, in nats, by the model in `folder`, in fp32."""
    model = read_model(_CLASS, folder, dtype="float32", device=device)
    rows = Examples(sorted(examples, key=lambda one: len(one.source)))
    parts = (range(begin, min(begin + _JUDGED_AT_ONCE, len(rows))) for begin in range(0, len(rows), _JUDGED_AT_ONCE))
    return mean_loss(model, (collate([rows[at] for at in part]).to(device) for part in parts), first=0)


def _compare_lengths(recipe: SummarizerRecipe, model: Any) -> None:
    reads, writes = positions(model.config)
    if recipe.source_tokens > reads:
        raise UsageError(f"--source-tokens {recipe.source_tokens}: {recipe.base} reads {reads} at most")
    if recipe.target_tokens > writes - 1:
        raise UsageError(f"--target-tokens {recipe.target_tokens}: {recipe.base} writes {writes - 1} at most")


def _examples(recipe: SummarizerRecipe, source: PaperSource, tokenizer: Any) -> tuple[list[Example], dict[str, int]]:
    """All that can be learnt from, and by reason how many cannot."""
    articles = Articles(tokenizer, prefix=recipe.prefix, reads=recipe.source_tokens, writes=recipe.target_tokens)
    found: list[Example] = []
    left_out: Counter[str] = Counter()
    for row, pair in enumerate(source.rows(recipe.limit)):
        example = articles.example(row, pair) if isinstance(pair, Pair) else pair
        if isinstance(example, Example):
            found.append(example)
        else:
            left_out[example] += 1
    return found, dict(left_out)


def _pairs(source: PaperSource, limit: int | None, examples: list[Example]) -> list[Pair]:
    """The pairs behind some examples, read anew: the texts of all would fill the memory."""
    wanted = {one.row for one in examples}
    return [pair for row, pair in enumerate(source.rows(limit)) if row in wanted and isinstance(pair, Pair)]


def _closing(about: SummarizerTraining) -> str:
    told = [
        f"{system} " + ", ".join(f"{name} {value:.3f}" for name, value in of.items())
        for system, of in (about.rouge or {}).items()
    ]
    return f"{about.judged:,} papers held out, F1: {'; '.join(told)}"
