"""Which sentences of a document to keep: close to what the document is about, and unlike each other.

Pure arithmetic on embeddings, in double precision, with a margin that says how firm the choice is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen candidates' positions, ascending, and every candidate's score.

    `margin` is the smallest lead that a chosen candidate had over the best one passed over at that step (infinite
    when nothing was passed over). Noise in the embeddings that is well below it cannot have changed the choice.
    """

    chosen: tuple[int, ...]
    scores: NDArray[np.float64]
    margin: float


def guide(
    embeddings: NDArray[np.floating], counts: Sequence[int], title: NDArray[np.floating] | None
) -> NDArray[np.float64]:
    """The unit vector that a document's sentences are compared with.

    That is the centroid of its sentences, each as often as it occurs; `title` (already weighted, may be None) draws
    the centroid towards what the authors say the paper is about.

    Args:
        embeddings: unit vectors of the distinct sentences, [sentences, width].
        counts: how often each occurs, [sentences].
        title: the title's embedding times its weight, [width].
    """
    weights = np.asarray(counts, dtype=np.float64)
    centre = _unit(weights @ embeddings.astype(np.float64))
    return centre if title is None else _unit(centre + title.astype(np.float64))


def choose(
    embeddings: NDArray[np.floating],
    towards: NDArray[np.floating],
    eligible: Sequence[int],
    count: int,
    relevance: float,
) -> Choice:
    """Pick `count` of the eligible sentences by maximal marginal relevance (Carbonell and Goldstein, 1998).

    Each step takes the greatest `relevance * score - (1 - relevance) * likeness`, where the score is the cosine to
    `towards` and the likeness is the cosine to the nearest sentence taken so far. Equal values: the earlier sentence.

    Args:
        embeddings: unit vectors, [sentences, width].
        towards: unit vector, [width].
        eligible: positions in `embeddings` that may be chosen, ascending, not empty.
        count: how many to choose; all of `eligible` when it has fewer.
        relevance: from 0 (only unlike each other) to 1 (only close to the document).
    """
    vectors = embeddings.astype(np.float64)
    scores = vectors @ towards
    likeness = np.zeros(len(eligible))
    free = np.ones(len(eligible), dtype=bool)
    places = np.asarray(eligible)
    margin = np.inf
    for step in range(min(count, len(places))):
        values = np.where(free, relevance * scores[places] - (1 - relevance) * likeness, -np.inf)
        best = int(np.argmax(values))
        free[best] = False
        if free.any():
            margin = min(margin, float(values[best] - values[free].max()))
        nearness = vectors[places] @ vectors[places[best]]
        likeness = nearness if step == 0 else np.maximum(likeness, nearness)
    return Choice(tuple(int(place) for place in places[~free]), scores, margin)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
