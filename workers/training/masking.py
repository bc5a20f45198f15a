"""Masked-language modelling of SMILES: which tokens are hidden, and batches of what is left and what to guess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workers.engines.padding import Ids
from workers.training.batches import IGNORED, LengthBatches
from workers.training.random_smiles import RandomSmiles
from workers.training.vocabulary import Encoded

SHARE = 0.25  # of the tokens are to be guessed
_MASKED, _OTHER = 0.8, 0.1  # of these: the mask, another token; the rest stay as they are (Devlin et al. 2019)

Masked = tuple[NDArray[np.int64], NDArray[np.int64]]


def masked(ids: Ids, random: np.random.Generator, *, mask: int, ordinary: range) -> Masked:
    """A row as the model sees it, and its labels: `IGNORED` where nothing is to be guessed, at least one is.

    `ordinary` are the ids that stand for parts of molecules.
    """
    seen = np.array(ids, dtype=np.int64)
    hidden = random.random(len(ids)) < SHARE
    hidden[random.integers(len(ids))] = True
    labels = np.where(hidden, seen, IGNORED)
    lot = random.random(len(ids))
    seen[hidden & (lot < _MASKED)] = mask
    other = hidden & (lot >= _MASKED) & (lot < _MASKED + _OTHER)
    seen[other] = random.integers(ordinary.start, ordinary.stop, int(other.sum()))
    return seen, labels


class MaskedMolecules(torch.utils.data.Dataset[list[Masked]]):
    """Rows with tokens hidden; with `views`, two random SMILES of each molecule. A row has one or two texts.

    What is drawn follows from seed, epoch and row alone, so a run that is taken up again sees what it would have seen.
    """

    def __init__(
        self, encoded: Encoded, batches: LengthBatches, tokenizer: Any, *, views: RandomSmiles | None = None
    ) -> None:
        self._encoded = encoded
        self._batches = batches
        self._tokenizer = tokenizer
        self._mask = tokenizer.mask_token_id
        self._ordinary = range(self._mask + 1, len(tokenizer))
        self._views = views

    def __len__(self) -> int:
        return len(self._encoded)

    def __getitem__(self, at: int) -> list[Masked]:
        random = np.random.default_rng([self._batches.seed, self._batches.epoch, at])
        ids = tuple(self._encoded.row(at).tolist())
        texts = [ids]
        if self._views is not None:
            smiles = "".join(self._tokenizer.convert_ids_to_tokens(ids))
            texts = [self._views(smiles, ids, random) for _ in range(2)]
        return [masked(text, random, mask=self._mask, ordinary=self._ordinary) for text in texts]


class CollateMasked:
    """Rows to `input_ids`, `attention_mask` and `labels`, [texts, width], padded on the right.

    First the first texts of all rows, then the second ones.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._pad, self._begin, self._end = tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id

    def __call__(self, rows: Sequence[list[Masked]]) -> dict[str, Any]:
        """See the class."""
        texts = [row[view] for view in range(len(rows[0])) for row in rows]
        width = max(len(seen) for seen, _ in texts) + 2
        ids = np.full((len(texts), width), self._pad, dtype=np.int64)
        labels = np.full((len(texts), width), IGNORED, dtype=np.int64)
        for at, (seen, guessed) in enumerate(texts):
            end = len(seen) + 1
            ids[at, 0], ids[at, 1:end], ids[at, end] = self._begin, seen, self._end
            labels[at, 1:end] = guessed
        mask = torch.from_numpy((ids != self._pad).astype(np.int64))
        return {"input_ids": torch.from_numpy(ids), "attention_mask": mask, "labels": torch.from_numpy(labels)}
