"""Texts of unlike lengths as rectangles of tokens: which go through a model together, and how they are filled up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Ids = tuple[int, ...]


def passes(ordered: Sequence[Ids], limit: int) -> list[Sequence[Ids]]:
    """Cut texts, sorted by length, into runs whose padded size stays within `limit` tokens (one text may exceed it)."""
    cuts = [0]
    for at, tokens in enumerate(ordered):
        if at > cuts[-1] and (at - cuts[-1] + 1) * len(tokens) > limit:
            cuts.append(at)
    return [ordered[begin:end] for begin, end in zip(cuts, [*cuts[1:], len(ordered)], strict=True)]


def pad(texts: Sequence[Ids], filler: int, device: str) -> tuple[Tensor, Tensor]:
    """Texts as token ids, filled up on the right, and the mask that is 1 where a token is real.

    Shapes: both (texts, longest).
    """
    import torch

    longest = max(map(len, texts))
    ids = torch.full((len(texts), longest), filler)
    mask = torch.zeros((len(texts), longest), dtype=torch.long)
    for at, tokens in enumerate(texts):
        ids[at, : len(tokens)] = torch.tensor(tokens)
        mask[at, : len(tokens)] = 1
    return ids.to(device), mask.to(device)
