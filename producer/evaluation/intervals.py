"""Intervals of 95 %: Wilson's for shares, the bootstrap's percentiles for all else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.scores import Array

RESAMPLES = 1000
_Z = 1.959964  # of the standard normal distribution, 2.5 % lie above
_CELLS = 4_000_000  # counts that are held at a time


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927): sound near 0 and 1, where a good generator's shares lie."""
    share = successes / n
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def resamples(n: int, count: int = RESAMPLES, seed: int = 0) -> Iterator[Array]:
    """`count` resamples of `n` rows with replacement, in blocks of (resamples, n): how often each row was drawn.

    The same seed gives the same draws, so that two systems on the same rows are compared on the same resamples.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    block = max(1, _CELLS // max(1, n))
    for first in range(0, count, block):
        size = min(block, count - first)
        draws = random.integers(n, size=(size, n)) + np.arange(size)[:, None] * n
        yield np.bincount(draws.ravel(), minlength=size * n).reshape(size, n)


def percentiles(values: Array) -> tuple[float, float] | tuple[None, None]:
    """The middle 95 % of bootstrap values; NaN are resamples in which the figure is not defined."""
    import numpy as np

    defined = values[~np.isnan(values)]
    if not len(defined):
        return None, None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def of_mean(values: Array, count: int = RESAMPLES, seed: int = 0) -> tuple[float, float] | tuple[None, None]:
    """The bootstrap interval of a mean over rows."""
    import numpy as np

    means = [drawn @ values / len(values) for drawn in resamples(len(values), count, seed)]
    return percentiles(np.concatenate(means))
