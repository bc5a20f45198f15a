"""A table's molecules as an encoder reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np

from workers.engines.padding import Ids
from workers.engines.pretrained import read_tokenizer
from workers.training.labelled import Labelled, Split, split
from workers.training.property_recipe import PropertyRecipe
from workers.training.quality import Values
from workers.training.smiles_source import SmilesSource
from workers.training.vocabulary import encode_each, learn_tokenizer

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The table's molecules as token ids with start and end, () where the model cannot read one, and the split.

    `targets` is what is learnt, (molecules, tasks): labels in the unit in which outputs times `scale` plus `shift`,
    (tasks,) both, are in the labels' own.
    """

    known: Labelled
    tokenizer: Any
    texts: list[Ids]
    split: Split
    left_out: dict[str, int]
    targets: Values
    scale: Values
    shift: Values

    def smiles_of(self, part: Part) -> list[str]:
        """A part's molecules that the model can read, standardized."""
        return [self.known.smiles[at] for at in self.split.usable[part]]

    def texts_of(self, part: Part) -> list[Ids]:
        """Their token ids."""
        return [self.texts[at] for at in self.split.usable[part]]

    def labels_of(self, part: Part) -> Values:
        """Their labels as the table has them."""
        return self.known.labels[self.split.usable[part]]


def prepare(recipe: PropertyRecipe, known: Labelled, source: SmilesSource | Path | None) -> Prepared:
    """Split the molecules and cut them into tokens; `source` is what to pretrain on, or the folder of an encoder.

    Raises:
        UsageError: there are too few usable molecules.  ModelUnavailable: the encoder's folder cannot be read.
    """
    tokenizer = _tokenizer(recipe, known, source)
    texts: list[Ids] = []
    reasons: list[str] = []
    left_out = dict(known.left_out)
    framed = tokenizer.backend_tokenizer.encode_batch(known.smiles)
    for (_, reason), refused, text in zip(
        encode_each(tokenizer, known.smiles, recipe.longest), known.refused, framed, strict=True
    ):
        why = refused or reason
        texts.append(() if why else tuple(text.ids))
        reasons.append(why)
        if why:
            left_out[why] = left_out.get(why, 0) + 1
    parts = split(known, reasons)
    return Prepared(known, tokenizer, texts, parts, left_out, *_targets(known, parts))


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


def _targets(known: Labelled, parts: Split) -> tuple[Values, Values, Values]:
    """Targets, scale and shift as `Prepared` has them: values are learnt in standard deviations from their mean."""
    ones, zeros = np.ones(len(known.tasks)), np.zeros(len(known.tasks))
    if known.kind == "probability":
        return known.labels, ones, zeros
    learnt = known.labels[parts.usable["train"]].T
    mean = np.array([np.nanmean(c) if not np.isnan(c).all() else 0.0 for c in learnt])
    spread = np.array([np.nanstd(c) if not np.isnan(c).all() else 1.0 for c in learnt])
    spread[spread == 0] = 1.0
    return (known.labels - mean) / spread, spread, mean
