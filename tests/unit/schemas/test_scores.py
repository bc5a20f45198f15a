"""Scores by hand, and against scikit-learn and SciPy on any resample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn import metrics

from producer.evaluation import intervals
from schemas import scores

ONCE = np.ones((1, 4), np.int64)


def test_scores_of_probabilities_by_hand() -> None:
    labels, predicted = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.4, 0.8])
    assert scores.roc_auc(labels, predicted, ONCE) == pytest.approx([(1 + 0.5 + 1 + 1) / 4])
    assert scores.pr_auc(labels, predicted, ONCE) == pytest.approx([0.5 * 1 + 0.5 * 2 / 3])
    assert scores.brier(labels, predicted, ONCE) == pytest.approx([(0.01 + 0.16 + 0.36 + 0.04) / 4])
    # Bins: 0.1 (no positive), 0.4 twice (one positive), 0.8 (a positive).
    assert scores.calibration_error(labels, predicted, ONCE) == pytest.approx([(0.1 + abs(0.8 - 1) + 0.2) / 4])


def test_scores_of_numbers_by_hand() -> None:
    labels, predicted = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 6.0])
    assert scores.rmse(labels, predicted, ONCE) == pytest.approx([(6 / 4) ** 0.5])
    assert scores.mae(labels, predicted, ONCE) == pytest.approx([1.0])
    assert scores.r2(labels, predicted, ONCE) == pytest.approx([1 - 6 / 5])
    assert scores.spearman(labels, predicted, ONCE) == pytest.approx([0.8])


def test_a_score_that_its_labels_do_not_define_is_nan() -> None:
    alike, predicted = np.full(4, 0.1), np.array([0.1, 0.2, 0.3, 0.4])
    for score in (scores.roc_auc, scores.r2, scores.spearman):
        assert np.isnan(score(alike, predicted, ONCE)).all()
    assert np.isnan(scores.pr_auc(np.zeros(4), predicted, ONCE)).all()


COARSE = st.integers(0, 6).map(lambda n: n / 6)  # ties are likely


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), COARSE, st.integers(0, 3)), min_size=2, max_size=40))
def test_a_weighted_score_is_that_of_rows_repeated_so_often(rows: list[tuple[bool, float, int]]) -> None:
    labels, predicted, weights = (np.array(column, float) for column in zip(*rows, strict=True))
    often = weights.astype(int)[None]
    truth, said = np.repeat(labels, often[0]), np.repeat(predicted, often[0])
    assume(0 < truth.sum() < len(truth))
    assert scores.roc_auc(labels, predicted, often) == pytest.approx([metrics.roc_auc_score(truth, said)])
    assert scores.pr_auc(labels, predicted, often) == pytest.approx([metrics.average_precision_score(truth, said)])
    assert scores.brier(labels, predicted, often) == pytest.approx([metrics.brier_score_loss(truth, said)])


@settings(deadline=None)
@given(st.lists(st.tuples(COARSE, COARSE, st.integers(0, 3)), min_size=3, max_size=40))
def test_a_weighted_score_of_numbers_is_that_of_rows_repeated_so_often(rows: list[tuple[float, float, int]]) -> None:
    labels, predicted, weights = (np.array(column, float) for column in zip(*rows, strict=True))
    often = weights.astype(int)[None]
    truth, said = np.repeat(labels, often[0]), np.repeat(predicted, often[0])
    assume(len(set(truth)) > 1 and len(set(said)) > 1)
    assert scores.spearman(labels, predicted, often) == pytest.approx([spearmanr(truth, said)[0]], abs=1e-9)
    assert scores.r2(labels, predicted, often) == pytest.approx([metrics.r2_score(truth, said)])
    assert scores.mae(labels, predicted, often) == pytest.approx([metrics.mean_absolute_error(truth, said)])
    assert scores.rmse(labels, predicted, often) == pytest.approx([metrics.root_mean_squared_error(truth, said)])


def test_wilsons_interval_of_a_share() -> None:
    low, high = intervals.wilson(8, 10)
    assert (low, high) == pytest.approx((0.490, 0.943), abs=5e-4)  # Agresti and Coull 1998
    assert intervals.wilson(10, 10) == pytest.approx((0.722, 1.0), abs=5e-4)


def test_every_resample_draws_as_many_rows_as_there_are_and_the_same_ones_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = np.concatenate(list(intervals.resamples(30, 100, seed=4)))
    assert whole.shape == (100, 30)
    assert (whole.sum(1) == 30).all()
    assert len({tuple(row) for row in whole}) == 100
    monkeypatch.setattr(intervals, "_CELLS", 210)
    np.testing.assert_array_equal(whole, np.concatenate(list(intervals.resamples(30, 100, seed=4))))


def test_a_means_interval_is_about_two_standard_errors_to_each_side() -> None:
    values = np.random.default_rng(1).normal(5.0, 2.0, 400)
    low, high = intervals.of_mean(values)
    assert low is not None and high is not None
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
