"""Outcomes are values: a result or a failure, exactly one per row of a job (generation: per row and sample)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from schemas.errors import RowError


@dataclass(frozen=True, slots=True)
class Failed:
    """A row that has no result, and why."""

    row: int
    code: RowError
    message: str
    sample: int = 0


@dataclass(frozen=True, slots=True)
class SummarySentence:
    """One sentence of a summary. `section` and `sentence` count from 0 into the paper, to the sentence it stands on.

    Of a sentence taken from the paper word for word, `score` is the selecting model's own (cosine to the document's
    centroid for the extractive engine). Of one that a model wrote, that place backs it most, and `score` is how far
    the paper supports it, 0 to 1 (`workers/support.py`).
    """

    text: str
    section: int
    sentence: int
    score: float


@dataclass(frozen=True, slots=True)
class Summary:
    """A paper's summary. `coverage` is the share of the paper's sentences that the model has seen, 0 to 1.

    `tokens` counts what it read, in all passes over the text. `support` is how far the paper supports the weakest of
    the summary's sentences, 0 to 1: 1 where all are the paper's own, None where there are none.
    """

    row: int
    text: str
    sentences: tuple[SummarySentence, ...]
    coverage: float
    tokens: int
    support: float | None = None
    sample: ClassVar[int] = 0


@dataclass(slots=True)
class Prediction:
    """A molecule's predicted properties, one value for each of the model's endpoints, in their order.

    `standardized` is the canonical SMILES that was predicted on. `spread` is the standard deviation over the
    ensemble's members and `percentile` the share (0 to 100) of approved drugs with a lower value; both are None
    where the endpoint has none. Shapes: each sequence has len(model.endpoints) entries.
    """

    row: int
    standardized: str
    inchikey: str
    values: Sequence[float | None]
    spread: Sequence[float | None]
    percentile: Sequence[float | None]
    sample: ClassVar[int] = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """One sampled molecule. A sample that is no valid molecule is a result with `valid` false, not a failure.

    `nll` is the negative log-likelihood of the sampled tokens in nats, under the temperature-1 model.
    `seed` reproduces this sample whatever shared its batch. Properties are None when `valid` is false.
    """

    row: int
    sample: int
    smiles: str
    valid: bool
    nll: float
    tokens: int
    seed: int
    canonical: str | None = None
    inchikey: str | None = None
    qed: float | None = None
    sa: float | None = None
    logp: float | None = None
    mw: float | None = None
    tpsa: float | None = None
    scaffold: str | None = None
    alerts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trained:
    """A model that a training run made, in `folder` of the worker's machine. `card` is its `card.json`."""

    row: int
    model: str
    revision: str
    folder: str
    card: dict[str, Any]
    sample: ClassVar[int] = 0


Outcome = Summary | Prediction | Generation | Trained | Failed
