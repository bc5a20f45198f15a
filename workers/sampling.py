"""Drawing tokens so that a sample depends on its seed alone, not on the rows beside it.

Each row has its own stream of uniform numbers, computed from (seed, step) instead of taken from a generator's state.
A token is where the row's number falls in the cumulative distribution, summed in the vocabulary's order: unlike a
sorted order, that one does not jump when two tokens of equal probability change places. What is left is a number that
falls closer to a boundary than the noise between batch shapes; `draw` says when that happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

# Relative noise that a probability is granted: several times what single precision does to it, at temperature 1,
# when the batch's shape changes.
NOISE = 1e-4


@dataclass(frozen=True, slots=True)
class Shape:
    """How a job shapes the distribution: `top_k` 0 and `top_p` 1 leave it whole."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


def row_seed(job_seed: int, row: int, sample: int) -> int:
    """The seed of one sample of one row, in 63 bits: the same on every machine and in every run."""
    digest = blake2b(f"{job_seed}/{row}/{sample}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def uniforms(seeds: list[int], steps: int) -> NDArray[np.float64]:
    """The first numbers in [0, 1) of each seed's stream, [seeds, steps]: SplitMix64 (Steele et al., 2014)."""
    counters = np.arange(1, steps + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = np.asarray(seeds, dtype=np.uint64)[:, None] + counters
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    numbers: NDArray[np.float64] = (state >> np.uint64(11)).astype(np.float64) / 2.0**53
    return numbers


def draw(
    logits: torch.Tensor, numbers: torch.Tensor, shapes: list[Shape]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw one token a row.

    Args:
        logits: the model's, [rows, vocabulary].
        numbers: uniform in [0, 1), float64, [rows].
        shapes: one a row.

    Returns:
        The tokens [rows]; their negative log-likelihood in nats under the unshaped distribution [rows]; and whether
        noise in the logits could have led to another token [rows].
    """
    import torch

    precise = logits.double()
    likelihood = torch.log_softmax(precise, dim=-1)
    temperatures = precise.new_tensor([shape.temperature for shape in shapes])
    shaped = torch.softmax(precise / temperatures[:, None], dim=-1)
    noise = (NOISE / temperatures.clamp(max=1.0))[:, None]  # a low temperature magnifies it
    wavering = torch.zeros(len(shapes), dtype=torch.bool, device=logits.device)
    if any(shape.top_k or shape.top_p < 1 for shape in shapes):
        shaped, wavering = _truncate(shaped, noise, shapes)
    reached = shaped.cumsum(-1) / shaped.sum(-1, keepdim=True)
    targets = numbers[:, None]
    tokens = torch.searchsorted(reached, targets, right=True)
    # A sum that rounding left below 1 may end before the number; the last token with a share is meant.
    last = shaped.shape[-1] - 1 - (shaped > 0).flip(-1).int().argmax(-1, keepdim=True)
    tokens = torch.minimum(tokens, last)
    upper = reached.gather(-1, tokens)
    lower = torch.where(tokens > 0, reached.gather(-1, (tokens - 1).clamp(min=0)), 0.0)
    for bound in (lower, upper):
        wavering |= _near(targets, bound, noise).squeeze(-1)
    return tokens.squeeze(-1), -likelihood.gather(-1, tokens).squeeze(-1), wavering


def _near(value: torch.Tensor, bound: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Whether noise could carry a cumulative probability across a value: most at one half, not at the ends."""
    return (value - bound).abs() < noise * bound * (1 - bound)


def _truncate(shaped: torch.Tensor, noise: torch.Tensor, shapes: list[Shape]) -> tuple[torch.Tensor, torch.Tensor]:
    """Keep the most probable tokens of each row: at most `top_k`, then the fewest that together reach `top_p`."""
    import torch

    vocabulary = shaped.shape[-1]
    limits = torch.tensor([shape.top_k or vocabulary for shape in shapes], device=shaped.device)
    nucleus = shaped.new_tensor([shape.top_p for shape in shapes])
    ordered, places = shaped.sort(dim=-1, descending=True, stable=True)
    ranked = torch.arange(vocabulary, device=shaped.device)[None] < limits[:, None]
    share = torch.where(ranked, ordered, 0.0)
    share = share / share.sum(-1, keepdim=True)
    before = share.cumsum(-1) - share
    kept = ranked & ((before < nucleus[:, None]) | (nucleus[:, None] >= 1))
    count = kept.sum(-1, keepdim=True)
    weakest = ordered.gather(-1, count - 1)
    dropped = torch.where(count < vocabulary, ordered.gather(-1, count.clamp(max=vocabulary - 1)), -1.0)
    on_edge = _near(nucleus[:, None], before, noise) & ranked & (nucleus[:, None] < 1)
    wavering = (weakest - dropped < noise * weakest).squeeze(-1) | on_edge.any(-1)
    mask = torch.zeros_like(kept).scatter(-1, places, kept)
    return torch.where(mask, shaped, 0.0), wavering
