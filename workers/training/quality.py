"""How good a property model is on a part of its data, beside the baseline that learnt from the same part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas import baseline, scores

Values = NDArray[np.float64]
Figures = dict[str, dict[str, float | None]]  # by task, or "mean", and by score

_SCORES: dict[str, dict[str, scores.Score]] = {
    "probability": {
        "ROC-AUC": scores.roc_auc,
        "PR-AUC": scores.pr_auc,
        "Brier": scores.brier,
        "ECE": scores.calibration_error,
    },
    "regression": {"RMSE": scores.rmse, "MAE": scores.mae, "Spearman": scores.spearman, "R2": scores.r2},
}


def figures(kind: str, tasks: Sequence[str], labels: Values, predicted: Values) -> Figures:
    """Each task's scores and their means over the tasks that define them; None where labels do not define one.

    Of (molecules, tasks) labels, NaN where one is missing, and what was predicted: probabilities, or values.
    """
    found: Figures = {}
    for at, task in enumerate(tasks):
        there = ~np.isnan(labels[:, at])
        mine = labels[there, at], predicted[there, at], np.ones((1, int(there.sum())), np.int64)
        values = {name: float(score(*mine)[0]) if there.any() else math.nan for name, score in _SCORES[kind].items()}
        found[task] = {name: None if math.isnan(value) else value for name, value in values.items()}
    found["mean"] = {
        name: float(np.mean(defined))
        if (defined := [v for one in found.values() if (v := one[name]) is not None])
        else None
        for name in _SCORES[kind]
    }
    return found


def forest(kind: str, fingerprints: NDArray[Any], labels: Values, train: NDArray[Any], asked: NDArray[Any]) -> Values:
    """What the baseline says of the molecules at `asked`, (asked, tasks), having learnt those at `train`.

    Where the labels teach it nothing it says their mean.
    """
    columns = []
    for column in labels.T:
        known = train[~np.isnan(column[train])]
        said = baseline.predict(
            fingerprints[known], column[known], fingerprints[asked], probability=kind == "probability"
        )
        columns.append(np.full(len(asked), column[known].mean() if len(known) else 0.0) if said is None else said)
    return np.stack(columns, axis=1)


def ecfp4(smiles: Sequence[str]) -> NDArray[np.uint8]:
    """The baseline's fingerprints, (molecules, 2048); zeros for ""."""
    from rdkit import Chem
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    morgan = GetMorganGenerator(radius=baseline.RADIUS, fpSize=baseline.BITS)
    rows = [morgan.GetFingerprintAsNumPy(Chem.MolFromSmiles(one)) for one in smiles]
    return np.array(rows, np.uint8).reshape(-1, baseline.BITS)
