"""Batches of labelled molecules, written anew each time, with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workers.engines.padding import Ids, pad
from workers.training.batches import LengthBatches
from workers.training.random_smiles import RandomSmiles

Row = tuple[Ids, NDArray[np.float64]]


class LabelledMolecules(torch.utils.data.Dataset[Row]):
    """Token ids with start and end, and labels, (tasks,). With `anew`, another SMILES of the molecule every time.

    What is drawn follows from seed, epoch and row alone, so a run that is taken up again sees what it would have seen.
    """

    def __init__(
        self,
        smiles: Sequence[str],
        texts: Sequence[Ids],
        labels: NDArray[np.float64],
        batches: LengthBatches,
        anew: RandomSmiles | None,
    ) -> None:
        """`texts` are the molecules' token ids with start and end."""
        self._smiles, self._texts, self._labels = smiles, texts, labels
        self._batches = batches
        self._anew = anew

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, at: int) -> Row:
        text = self._texts[at]
        if self._anew is not None:
            random = np.random.default_rng([self._batches.seed, self._batches.epoch, at])
            text = self._anew(self._smiles[at], text, random)
        return text, self._labels[at]


class CollateLabelled:
    """Rows to `input_ids` and `attention_mask`, [rows, width], and `labels`, [rows, tasks] float32."""

    def __init__(self, filler: int) -> None:
        self._filler = filler

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """See the class."""
        ids, mask = pad([text for text, _ in rows], self._filler, "cpu")
        labels = torch.from_numpy(np.stack([labels for _, labels in rows])).float()
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}
