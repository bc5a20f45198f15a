"""The end of a property model: its loss with missing labels, and what is folded into its last layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

_COOLEST, _HOTTEST = 0.2, 10.0  # temperatures


def masked_loss(kind: str, logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over labels that are there, [molecules, tasks], NaN where one is missing; 0 where none is.

    Cross-entropy of a sigmoid for probabilities, squared error for values. A missing label has no gradient.
    """
    there = ~labels.isnan()
    known = labels.nan_to_num()
    if kind == "probability":
        losses = functional.binary_cross_entropy_with_logits(logits.float(), known, reduction="none")
    else:
        losses = (logits.float() - known) ** 2
    return losses[there].sum() / there.sum().clamp(min=1)


def temperatures(logits: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The temperature of each task that makes the labels likeliest, (tasks,), as Guo et al. 2017 have it.

    Of (members, molecules, tasks) logits and (molecules, tasks) labels, NaN where one is missing. A probability is the
    mean over the members of sigmoid(logit / T): members that are calibrated each by itself are too unsure together. 1
    where labels are all alike.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    found = np.ones(labels.shape[1])
    for task in range(labels.shape[1]):
        there = ~np.isnan(labels[:, task])
        mine, truth = logits[:, there, task], labels[there, task]
        if len(np.unique(truth)) < 2:
            continue

        def surprise(log: float, mine: Any = mine, truth: Any = truth) -> float:
            # sigmoid(x) = exp(-log(1 + exp(-x))); with the sign turned where the label is 0
            signed = np.where(truth == 1, mine, -mine) / np.exp(log)
            return -float(np.mean(logsumexp(-np.logaddexp(0.0, -signed), axis=0)))

        best = minimize_scalar(surprise, bounds=(np.log(_COOLEST), np.log(_HOTTEST)), method="bounded")
        found[task] = np.exp(best.x)
    return found


def fold(model: nn.Module, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> None:
    """Make each output `scale` times what it was, plus `shift`, (tasks,) both, by the weights of the last layer.

    So temperatures, and the units of values, need nothing of who computes with the model.
    """
    head = [layer for layer in model.modules() if isinstance(layer, nn.Linear) and layer.out_features == len(scale)][-1]
    factor = torch.as_tensor(scale, dtype=head.weight.dtype)
    with torch.no_grad():
        head.weight.mul_(factor[:, None])
        head.bias.mul_(factor).add_(torch.as_tensor(shift, dtype=head.bias.dtype))
