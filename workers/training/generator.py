"""Training a generator: a Llama-shaped causal language model over SMILES, by the `Trainer` of transformers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, LlamaConfig, PrinterCallback, Trainer, TrainingArguments, logging

from schemas.errors import UsageError
from workers.engines.pretrained import read_model
from workers.training.batches import WIDTHS, Collate, LengthBatches, Molecules, widths
from workers.training.card import Training
from workers.training.checkpoints import KEPT, Checkpoints, last_whole
from workers.training.product import Product
from workers.training.progress import ProgressLine, Stopwatch, tell
from workers.training.recipe import HEAD, Recipe
from workers.training.samples import look_at_samples
from workers.training.smiles_source import SmilesSource
from workers.training.vocabulary import Encoded, encode, learn_tokenizer

HELD_OUT = 2_000  # rows, at most a tenth of all, for the validation loss
WARM_UP, FALL = 0.02, 0.5  # shares of the steps
WEIGHT_DECAY, BETAS, CLIP = 0.1, (0.9, 0.95), 1.0


class GeneratorTrainer(Trainer):
    """The `Trainer`, with batches from a loader of our own."""

    def __init__(self, loader: DataLoader[Any], **known: Any) -> None:
        super().__init__(**known, train_dataset=loader.dataset)
        self._loader = loader

    def get_train_dataloader(self) -> Any:
        """See Trainer."""
        return self.accelerator.prepare(self._loader)


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
        product.take(checkpoint)
        about.read(checkpoint)
        about.validation_loss = _mean_loss(product.model, held_out, collate)
        product.describe(about)
        tell(f"step {about.step:,}: saved, validation loss {about.validation_loss:.4f}")

    if compiled:
        torch._dynamo.config.recompile_limit = 2 * WIDTHS  # a graph each, and each before there are gradients
        model.compile(dynamic=False)  # in place: its weights keep their names
    trainer = GeneratorTrainer(
        DataLoader(Molecules(training), batch_sampler=batches, collate_fn=collate),
        model=model,
        args=_arguments(recipe, checkpoints, steps),
        processing_class=tokenizer,
        callbacks=[Checkpoints(checkpoints, save_seconds, saved), ProgressLine(batches.batch_size), Stopwatch()],
    )
    trainer.remove_callback(PrinterCallback)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if begun is None or _step_of(begun) < steps:
        trainer.train(resume_from_checkpoint=None if begun is None else str(begun))
    else:
        saved(begun)
    about.measured = look_at_samples(product.entry(about), source.rows(recipe.limit))
    product.describe(about)
    return about


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


def _arguments(recipe: Recipe, checkpoints: Path, steps: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=steps,
        per_device_train_batch_size=recipe.batch,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": math.ceil(FALL * steps), "decay_type": "linear"},
        warmup_steps=math.ceil(WARM_UP * steps),
        adam_beta1=BETAS[0],
        adam_beta2=BETAS[1],
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=CLIP,
        optim="adamw_torch_fused",
        bf16=recipe.precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        seed=recipe.seed,
        logging_steps=10,
        save_strategy="no",  # by the clock: `Checkpoints`
        save_total_limit=KEPT,
        restore_callback_states_from_checkpoint=True,
        include_num_input_tokens_seen="non_padding",
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
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


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _opening(about: Training, begun: Path | None) -> str:
    left = "; ".join(f"{count:,} {reason}" for reason, count in about.left_out.items())
    return (
        f"{about.rows:,} molecules to learn from, {about.held_out:,} held out, left out: {left or 'none'}; "
        f"{about.parameters:,} parameters, {about.steps:,} steps"
        + (f", going on after step {_step_of(begun):,}" if begun else "")
    )
