"""The encoder under a property model: its shape, and masked-language pretraining on SMILES."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForMaskedLM, ModernBertConfig, ModernBertForMaskedLM

from schemas.errors import UsageError
from workers.training.batches import LengthBatches, widths
from workers.training.checkpoints import last_whole
from workers.training.contrast import ContrastiveForMaskedLM
from workers.training.loop import Plan, learn
from workers.training.masking import CollateMasked, MaskedMolecules
from workers.training.product import Product
from workers.training.progress import tell
from workers.training.property_recipe import PropertyRecipe
from workers.training.random_smiles import RandomSmiles
from workers.training.reached import Reached
from workers.training.recipe import HEAD
from workers.training.smiles_source import SmilesSource
from workers.training.vocabulary import encode

# Rows are short: on a CPU torch's fused attention is the slower one.
ATTENTION = "sdpa" if torch.cuda.is_available() else "eager"


def shape(recipe: PropertyRecipe, tokenizer: Any) -> ModernBertConfig:
    """BERT's shape with rotary positions, norms before each part and gated layers (Warner et al. 2024), all global."""
    return ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        intermediate_size=recipe.width * 3 // 2,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.width // HEAD,
        max_position_embeddings=recipe.longest + 2,
        layer_types=["full_attention"] * recipe.layers,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        cls_token_id=tokenizer.bos_token_id,
        sep_token_id=tokenizer.eos_token_id,
        classifier_pooling="mean",
    )


def pretrain(
    recipe: PropertyRecipe, source: SmilesSource, more: list[str], tokenizer: Any, folder: Path, save_seconds: float
) -> tuple[Path, Reached]:
    """Pretrain on the source's rows and `more`, from the last checkpoint in `folder`; the encoder's own folder.

    Raises:
        UsageError: there are no usable rows.
    """
    product = Product(folder, "encoder")
    checkpoints = folder / "checkpoints"
    begun = last_whole(checkpoints)
    rows = encode(tokenizer, chain(source.rows(recipe.pretrain_limit), more), longest=recipe.longest)
    if not len(rows):
        raise UsageError(f"{source.name} has no usable rows; left out: {rows.left_out or 'none'}")
    batches = LengthBatches(rows.lengths, widths(rows.lengths), recipe.pretrain_batch, recipe.seed)
    steps = max(1, round(recipe.pretrain_epochs * len(batches)))
    torch.manual_seed(recipe.seed)
    kind = ContrastiveForMaskedLM if recipe.contrast else ModernBertForMaskedLM
    model = kind._from_config(  # type: ignore[no-untyped-call]
        shape(recipe, tokenizer), attn_implementation=ATTENTION
    )
    views = None
    if recipe.contrast:
        model.temperature = recipe.temperature
        views = RandomSmiles(tokenizer, recipe.longest, framed=False)
    tell(f"pretraining: {len(rows):,} molecules, {model.num_parameters():,} parameters, {steps:,} steps")
    reached = Reached()

    def saved(checkpoint: Path) -> None:
        nonlocal reached
        reached = Reached.read(checkpoint)
        product.take(AutoModelForMaskedLM.from_pretrained(checkpoint, dtype=torch.float32), checkpoint)
        tell(f"pretraining step {reached.step:,}: saved")

    learn(
        Plan(steps, batches.batch_size, recipe.pretrain_learning_rate, recipe.precision, recipe.seed),
        model,
        tokenizer,
        DataLoader(
            MaskedMolecules(rows, batches, tokenizer, views=views),
            batch_sampler=batches,
            collate_fn=CollateMasked(tokenizer),
        ),
        checkpoints,
        begun,
        save_seconds=save_seconds,
        saved=saved,
    )
    return product.model, reached
