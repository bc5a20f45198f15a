"""The baseline beside every property model: a random forest over ECFP4 fingerprints, learnt from the same split.

Who trains and who judges use the same one. The fingerprints are RDKit's of Morgan with `RADIUS` and `BITS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.scores import Array

NAME = "ECFP4 + random forest"
RADIUS = 2  # ECFP4: of diameter 4
BITS = 2048
_TREES = 200  # more changed nothing on Tox21


def predict(train: Array, labels: Array, test: Array, *, probability: bool, seed: int = 0) -> Array | None:
    """What the forest says of the test rows, (rows,) float64; None if the labels do not teach it anything.

    200 trees with scikit-learn's defaults. For a probability it is the mean over trees of the positives in the leaf.
    6,000 molecules take ten seconds of one core.
    """
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    if len(labels) == 0 or (probability and len(np.unique(labels)) < 2):
        return None
    kind = RandomForestClassifier if probability else RandomForestRegressor
    forest = kind(_TREES, n_jobs=-1, random_state=seed).fit(train, labels)
    found: Array = forest.predict_proba(test)[:, 1] if probability else forest.predict(test)
    return found
