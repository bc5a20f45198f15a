"""Scores of predictions against labels, each computed for many resamples at once.

Every function takes `labels` and `predicted`, (rows,) float64, and `weights`, (resamples, rows): how often each row
counts. It returns (resamples,) float64, NaN where a resample does not define the score. With all weights 1 a score is
the usual one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

Score = Callable[["Array", "Array", "Array"], "Array"]

_BINS = 10
_ALIKE = 1e-9


def roc_auc(labels: Array, predicted: Array, weights: Array) -> Array:
    """The chance that a positive is ranked above a negative, ties counting half (Hanley and McNeil 1982)."""
    positives, negatives = _by_rank(labels, predicted, weights)
    below = negatives.cumsum(1) - negatives
    return _ratio((positives * (below + negatives / 2)).sum(1), positives.sum(1) * negatives.sum(1))


def pr_auc(labels: Array, predicted: Array, weights: Array) -> Array:
    """Average precision: the mean, over positives, of the precision at each one's threshold, without interpolation."""
    import numpy as np

    positives, negatives = (part[:, ::-1] for part in _by_rank(labels, predicted, weights))
    precision = _ratio(positives.cumsum(1), (positives + negatives).cumsum(1))
    # Above the highest drawn prediction there is no precision, and no positive that asks for it.
    return _ratio(np.nansum(positives * precision, axis=1), positives.sum(1))


def brier(labels: Array, predicted: Array, weights: Array) -> Array:
    """The mean squared difference between probability and what happened (0 or 1)."""
    return _mean((predicted - labels) ** 2, weights)


def calibration_error(labels: Array, predicted: Array, weights: Array) -> Array:
    """Expected calibration error: in ten equal bins of the probability, how far the share of positives lies from the
    mean probability, in absolute value, averaged over rows (Naeini et al. 2015).
    """
    import numpy as np

    bins = (predicted * _BINS).astype(int).clip(0, _BINS - 1)
    apart = (predicted - labels) * (bins == np.arange(_BINS)[:, None])
    gaps = abs(weights @ apart.T).sum(1)
    return _ratio(gaps, weights.sum(1))


def rmse(labels: Array, predicted: Array, weights: Array) -> Array:
    """The root of the mean squared error, in the label's units."""
    import numpy as np

    return np.sqrt(_mean((predicted - labels) ** 2, weights))


def mae(labels: Array, predicted: Array, weights: Array) -> Array:
    """The mean absolute error, in the label's units."""
    return _mean(abs(predicted - labels), weights)


def r2(labels: Array, predicted: Array, weights: Array) -> Array:
    """One minus the squared error over that of always saying the labels' mean; negative if worse than that."""
    apart = labels - _mean(labels, weights)[:, None]
    spread = _ratio((weights * apart**2).sum(1), weights.sum(1))
    spread[spread <= (_ALIKE * abs(labels).max()) ** 2] = 0  # labels that are all the same, but for rounding
    return 1 - _ratio(_mean((predicted - labels) ** 2, weights), spread)


def spearman(labels: Array, predicted: Array, weights: Array) -> Array:
    """The correlation of the ranks, ties sharing their mean rank."""
    import numpy as np

    one, other = _ranks(labels, weights), _ranks(predicted, weights)
    total = weights.sum(1)
    one = one - _ratio((one * weights).sum(1), total)[:, None]
    other = other - _ratio((other * weights).sum(1), total)[:, None]
    both = (weights * one**2).sum(1) * (weights * other**2).sum(1)
    both[both <= _ALIKE] = 0  # ranks that are all the same, but for rounding
    return _ratio((weights * one * other).sum(1), np.sqrt(both))


def _by_rank(labels: Array, predicted: Array, weights: Array) -> tuple[Array, Array]:
    """Weights of positives and of negatives at each distinct prediction, ascending: two (resamples, predictions)."""
    import numpy as np

    order = np.argsort(predicted, kind="stable")
    starts = np.flatnonzero(np.diff(predicted[order], prepend=-np.inf))
    weights, positive = weights[:, order], labels[order] > 0.5
    return (
        np.add.reduceat(weights * positive, starts, axis=1).astype(np.float64),
        np.add.reduceat(weights * ~positive, starts, axis=1).astype(np.float64),
    )


def _ranks(values: Array, weights: Array) -> Array:
    """Mid-ranks of the rows in each resample: (resamples, rows)."""
    import numpy as np

    _, groups = np.unique(values, return_inverse=True)
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    sizes = np.add.reduceat(weights[:, order], starts, axis=1)
    middles = sizes.cumsum(1) - (sizes - 1) / 2
    return middles[:, groups]


def _mean(values: Array, weights: Array) -> Array:
    return _ratio(weights @ values, weights.sum(1))


def _ratio(over: Array, under: Array) -> Array:
    """A quotient; NaN where there is nothing to divide by."""
    import numpy as np

    found: Array = np.divide(over, under, out=np.full(np.shape(over), np.nan), where=under != 0)
    return found
