"""Rows held out of training, and the loss of a language model on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from schemas.errors import UsageError
from workers.training.batches import IGNORED


def hold_out(
    rows: int, most: int, seed: int, left_out: Mapping[str, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of the rows to learn from and of those held out, `most` or a tenth of all; ascending both.

    Raises:
        UsageError: there are fewer than two; the message says how many were `left_out`, and why.
    """
    if rows < 2:
        raise UsageError(f"{rows} usable rows are too few; left out: {dict(left_out) or 'none'}")
    order = np.random.default_rng(seed).permutation(rows)
    out = min(most, max(1, rows // 10))
    return np.sort(order[out:]), np.sort(order[:out])


def mean_loss(model: Any, batches: Iterable[Mapping[str, Any]], *, first: int) -> float:
    """The mean negative log-likelihood of a label, in nats; the labels before `first` of each row are not guessed."""
    total = tokens = 0.0
    with torch.inference_mode():
        for batch in batches:
            count = int((batch["labels"][:, first:] != IGNORED).sum())
            total += float(model(**batch).loss) * count
            tokens += count
    return total / tokens
