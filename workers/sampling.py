"""Drawing tokens so that a sample depends on its seed alone, not on the rows beside it.

Each row has its own stream of uniform numbers, computed from (seed, step) instead of taken from a generator's state.
A token is where the row's number falls in the cumulative distribution, summed in the vocabulary's order: unlike a
sorted order, that one does not jump when two tokens of equal probability change places. What is left is a number that
falls closer to a boundary than the noise between batch shapes; `draw` says when that happened.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def uniforms(seeds: NDArray[np.uint64], steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """The number in [0, 1) that each seed's stream has at its step, from 0: SplitMix64 (Steele et al., 2014)."""
    state = seeds + (steps + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    numbers: NDArray[np.float64] = (state >> np.uint64(11)).astype(np.float64) / 2.0**53
    return numbers


@dataclass(frozen=True, slots=True)
class Shapes:
    """The shapes of several rows as columns, [rows, 1]; None where no row asks for any."""

    temperature: torch.Tensor | None
    top_k: torch.Tensor | None
    top_p: torch.Tensor | None

    @staticmethod
    def of(shapes: Sequence[Shape], device: torch.device | str = "cpu") -> Shapes:
        """Gather them once for many draws."""
        import torch

        def column(values: list[float], whole: float, dtype: torch.dtype) -> torch.Tensor | None:
            if all(value == whole for value in values):
                return None
            return torch.tensor(values, dtype=dtype, device=device)[:, None]

        return Shapes(
            column([shape.temperature for shape in shapes], 1.0, torch.float64),
            column([shape.top_k for shape in shapes], 0, torch.int64),
            column([shape.top_p for shape in shapes], 1.0, torch.float64),
        )


def draw(
    logits: torch.Tensor, numbers: torch.Tensor, shapes: Shapes
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw one token a row.

    Args:
        logits: the model's, [rows, vocabulary].
        numbers: uniform in [0, 1), float64, [rows].
        shapes: how the rows' distributions are shaped.

    Returns:
        The tokens [rows]; their negative log-likelihood in nats under the unshaped distribution [rows]; and whether
        noise in the logits could have led to another token [rows].
    """
    import torch

    precise = logits.double()
    precise = precise - precise.amax(-1, keepdim=True)
    shaped = weights = precise.exp()
    noise: float | torch.Tensor = NOISE
    if shapes.temperature is not None:
        shaped = (precise / shapes.temperature).exp()
        noise = NOISE / shapes.temperature.clamp(max=1.0)  # a low temperature magnifies it
    wavering = None
    if shapes.top_k is not None or shapes.top_p is not None:
        shaped, wavering = _truncate(shaped / shaped.sum(-1, keepdim=True), noise, shapes)
    reached = shaped.cumsum(-1)
    total = reached[:, -1:]
    # Below the total, so that rounding cannot carry a number past the last token that has a share.
    targets = torch.minimum(numbers[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    tokens = torch.searchsorted(reached, targets, right=True).clamp(max=logits.shape[-1] - 1)
    upper = reached.gather(-1, tokens)
    near = _near(targets, upper, total, noise) | _near(targets, upper - shaped.gather(-1, tokens), total, noise)
    nlls = weights.sum(-1).log() - precise.gather(-1, tokens).squeeze(-1)
    near = near.squeeze(-1)
    return tokens.squeeze(-1), nlls, near if wavering is None else near | wavering


def _near(
    value: torch.Tensor, bound: torch.Tensor, total: torch.Tensor | float, noise: torch.Tensor | float
) -> torch.Tensor:
    """Whether noise could carry a cumulative weight across a value: most at half the total, not at the ends."""
    return (value - bound).abs() * total < noise * bound * (total - bound)


def _truncate(shaped: torch.Tensor, noise: torch.Tensor | float, shapes: Shapes) -> tuple[torch.Tensor, torch.Tensor]:
    """Keep the most probable tokens of each row: at most `top_k`, then the fewest that together reach `top_p`."""
    import torch

    vocabulary = shaped.shape[-1]
    ordered, places = shaped.sort(dim=-1, descending=True, stable=True)
    kept = torch.ones_like(ordered, dtype=torch.bool)
    if shapes.top_k is not None:
        limits = torch.where(shapes.top_k > 0, shapes.top_k, vocabulary)
        kept = torch.arange(vocabulary, device=shaped.device)[None] < limits
    on_edge = torch.zeros_like(kept)
    if shapes.top_p is not None:
        share = torch.where(kept, ordered, 0.0)
        share = share / share.sum(-1, keepdim=True)
        before = share.cumsum(-1) - share
        on_edge = _near(shapes.top_p, before, 1.0, noise) & kept & (shapes.top_p < 1)
        kept = kept & ((before < shapes.top_p) | (shapes.top_p >= 1))
    count = kept.sum(-1, keepdim=True)
    weakest = ordered.gather(-1, count - 1)
    dropped = torch.where(count < vocabulary, ordered.gather(-1, count.clamp(max=vocabulary - 1)), -1.0)
    wavering = (weakest - dropped < noise * weakest).squeeze(-1) | on_edge.any(-1)
    mask = torch.zeros_like(kept).scatter(-1, places, kept)
    return torch.where(mask, shaped, 0.0), wavering
