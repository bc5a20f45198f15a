"""Missing labels teach nothing, calibration scales, and both are in the weights in the end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from workers.training.heads import fold, masked_loss, temperatures

NAN = float("nan")


@pytest.mark.parametrize("kind", ["probability", "regression"])
def test_a_missing_label_has_no_gradient_and_no_weight(kind: str) -> None:
    logits = torch.tensor([[0.3, -2.0], [1.0, 0.5]], requires_grad=True)
    loss = masked_loss(kind, logits, torch.tensor([[1.0, NAN], [NAN, 0.0]]))
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad == 0).tolist() == [[False, True], [True, False]]
    alone = [
        masked_loss(kind, torch.tensor([[0.3]]), torch.tensor([[1.0]])),
        masked_loss(kind, torch.tensor([[0.5]]), torch.tensor([[0.0]])),
    ]
    assert loss.item() == pytest.approx(sum(one.item() for one in alone) / 2)


def test_a_batch_without_any_label_costs_nothing_and_has_a_gradient_of_zero() -> None:
    logits = torch.ones(2, 2, requires_grad=True)
    loss = masked_loss("probability", logits, torch.full((2, 2), NAN))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_the_temperature_by_which_logits_were_made_too_large_is_found() -> None:
    random = np.random.default_rng(0)
    true = random.normal(size=(20_000, 2))
    labels = (random.random(true.shape) < 1 / (1 + np.exp(-true))).astype(float)
    labels[:5000, 1] = np.nan
    assert temperatures((true * [3.0, 0.5])[None], labels) == pytest.approx([3.0, 0.5], rel=0.06)


def test_the_temperature_of_an_ensemble_is_that_of_its_mean_and_not_of_its_members() -> None:
    random = np.random.default_rng(0)
    true = random.normal(size=(5_000, 1))
    labels = (random.random(true.shape) < 1 / (1 + np.exp(-true))).astype(float)
    members = 3 * (true + random.normal(size=(4, *true.shape)))
    (together,) = temperatures(members, labels)

    def surprise(temperature: float) -> float:
        said = (1 / (1 + np.exp(-members / temperature))).mean(0)
        return float(-np.mean(np.log(np.where(labels == 1, said, 1 - said))))

    assert surprise(together) < min(surprise(0.9 * together), surprise(1.1 * together))
    assert together < 0.8 * min(temperatures(one[None], labels)[0] for one in members)
    assert temperatures(members[[0, 0]], labels) == pytest.approx(temperatures(members[:1], labels), rel=1e-3)


def test_labels_that_are_all_alike_or_missing_leave_the_temperature_at_one() -> None:
    assert temperatures(np.ones((1, 3, 2)), np.array([[0, np.nan], [0, np.nan], [0, np.nan]])).tolist() == [1, 1]


def test_scale_and_shift_are_in_the_weights() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    seen = torch.randn(5, 3)
    before = model(seen)
    fold(model, np.array([2.0, 0.5]), np.array([1.0, -3.0]))
    assert torch.allclose(model(seen), before * torch.tensor([2.0, 0.5]) + torch.tensor([1.0, -3.0]), atol=1e-5)
