"""The metrics of predicted properties, beside a baseline that learnt from the same split."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from producer.evaluation.intervals import RESAMPLES, percentiles, resamples
from producer.evaluation.labels import number
from producer.evaluation.metric import MODEL, Better, Metric
from producer.evaluation.molecules import Progress, ecfp4, parsed
from producer.evaluation.outcomes import Row
from schemas import baseline, scores
from schemas.errors import UsageError
from schemas.registry import Endpoint
from schemas.scores import Score
from schemas.splits import FRACTIONS, scaffold_split

if TYPE_CHECKING:
    from schemas.scores import Array

DIFFERENCE = "model minus baseline"
_OF = "labelled molecules"
_FEWEST = 3  # labels: fewer make no score

_CLASSES: dict[str, tuple[Score, Better]] = {
    "ROC-AUC": (scores.roc_auc, "higher"),
    "PR-AUC": (scores.pr_auc, "higher"),
    "Brier": (scores.brier, "lower"),
    "ECE": (scores.calibration_error, "lower"),
}
_NUMBERS: dict[str, tuple[Score, Better]] = {
    "RMSE": (scores.rmse, "lower"),
    "MAE": (scores.mae, "lower"),
    "Spearman": (scores.spearman, "higher"),
    "R2": (scores.r2, "higher"),
}


@dataclass(slots=True)
class Molecules:
    """Molecules with their labels, (molecules, endpoints) float64, NaN where one is missing."""

    smiles: list[str]
    labels: Array


@dataclass(slots=True)
class Predicted(Molecules):
    """And what a job predicted for them, NaN where it failed."""

    values: Array


def labelled(
    rows: Iterable[Row], endpoints: Sequence[Endpoint], columns: Mapping[Endpoint, str], counts: Counter[str]
) -> Predicted:
    """A job's molecules that carry a label, in order; `columns` names the label's of each endpoint to judge.

    A molecule is named by its standardized SMILES where it has one, so that salts of it share its scaffold. `counts`
    gets what became of the rows.

    Raises:
        UsageError: as `labels.number`.
    """
    import numpy as np

    places = [endpoints.index(endpoint) for endpoint in columns]
    smiles: list[str] = []
    labels: list[list[float]] = []
    values: list[list[float]] = []
    for row in rows:
        counts["rows"] += 1
        given = row["given_columns"] or {}
        found = [number(given.get(column), endpoint, column) for endpoint, column in columns.items()]
        failed = row["error_code"] is not None
        counts["failed"] += failed
        if all(map(math.isnan, found)):
            counts["without a label"] += 1
        elif parsed(name := row["standardized"] or row["given_smiles"] or "") is None:
            counts["no molecule"] += 1
        else:
            smiles.append(name)
            labels.append(found)
            values.append([math.nan] * len(places) if failed else [_float(row["values"][at]) for at in places])
    shape = (len(smiles), len(columns))
    return Predicted(smiles, np.array(labels).reshape(shape), np.array(values).reshape(shape))


def training_rows(rows: Iterable[Mapping[str, Any]], columns: Mapping[Endpoint, str]) -> Molecules:
    """The molecules of a training set of one's own; `rows` have the label columns, and `smiles`.

    Raises:
        UsageError: it has none of the label columns, or no molecules.
    """
    import numpy as np

    held = [row for row in rows if parsed(row["smiles"]) is not None]
    if not held:
        raise UsageError("the baseline's training set holds no molecules")
    if not any(column in row for row in held for column in columns.values()):
        there = ", ".join(dict.fromkeys(name for row in held for name in row if name != "smiles")) or "(none)"
        raise UsageError(f"the baseline's training set has none of the label columns; it has: {there}")
    labels = [[number(row.get(column), endpoint, column) for endpoint, column in columns.items()] for row in held]
    return Molecules([row["smiles"] for row in held], np.array(labels))


def split_by_scaffold(found: Predicted) -> tuple[Molecules, Predicted]:
    """What to learn from and what to be tested on: eight and one tenths; the tenth between is left to choose by."""
    train, _, test = scaffold_split([_scaffold(one) for one in found.smiles], FRACTIONS)
    return _chosen(found, train), _chosen(found, test)


def without(found: Predicted, train: Molecules) -> Predicted:
    """The molecules that are not in the training set, by canonical SMILES."""
    from rdkit import Chem

    known = {Chem.MolToSmiles(parsed(one)) for one in train.smiles}
    kept = [place for place, one in enumerate(found.smiles) if Chem.MolToSmiles(parsed(one)) not in known]
    return _chosen(found, kept)


def judge(endpoints: Sequence[Endpoint], train: Molecules, test: Predicted, progress: Progress) -> list[Metric]:
    """Metrics of each endpoint, of the model and of the baseline on the same test molecules, and means over endpoints.

    Molecules for which the model failed are left out of both. Intervals come from the same 1,000 resamples of the test
    molecules for all endpoints and both, so the difference between the two has an interval too.
    """
    import numpy as np

    if not len(test.smiles):
        raise UsageError("no molecule is left to be tested on; give more, or a training set (--baseline-train)")
    learnt, asked = ecfp4(train.smiles), ecfp4(test.smiles)
    tables: dict[str, list[_Scored]] = {}
    for place, endpoint in enumerate(endpoints):
        progress("baseline", place, len(endpoints))
        probability = endpoint.kind == "probability"
        usable = ~np.isnan(train.labels[:, place])
        theirs = baseline.predict(learnt[usable], train.labels[usable, place], asked, probability=probability)
        mask = ~(np.isnan(test.labels[:, place]) | np.isnan(test.values[:, place]))
        for name, score in (_CLASSES if probability else _NUMBERS).items():
            pair = [
                _scored(endpoint, name, system, score, test.labels[:, place], predicted, mask)
                for system, predicted in ((MODEL, test.values[:, place]), (baseline.NAME, theirs))
            ]
            tables.setdefault(name, []).extend(pair)
    progress("baseline", len(endpoints), len(endpoints))
    return [metric for name, found in tables.items() for metric in _told(name, found)]


@dataclass(slots=True)
class _Scored:
    """A score of an endpoint: its value, and what it is on each resample."""

    endpoint: Endpoint | None
    system: str
    better: Better
    value: float
    drawn: Array
    n: int

    def metric(self, name: str) -> Metric:
        low, high = percentiles(self.drawn)
        undefined = math.isnan(self.value)
        return Metric(
            name=name,
            value=None if undefined else self.value,
            n=self.n,
            of=_OF,
            better=self.better,
            low=None if undefined else low,
            high=None if undefined else high,
            endpoint=self.endpoint.name if self.endpoint else "mean",
            system=self.system,
            note="too few labels of each kind" if undefined else "",
        )


def _scored(
    endpoint: Endpoint,
    name: str,
    system: str,
    score: tuple[Score, Better],
    labels: Array,
    predicted: Array | None,
    mask: Array,
) -> _Scored:
    import numpy as np

    function, better = score
    n = int(mask.sum())
    if predicted is None or n < _FEWEST:
        return _Scored(endpoint, system, better, math.nan, np.full(RESAMPLES, math.nan), n)
    mine = labels[mask], predicted[mask]
    value = float(function(*mine, np.ones((1, n), np.int64))[0])
    drawn = np.concatenate([function(*mine, block[:, mask]) for block in resamples(len(labels))])
    if function is scores.calibration_error:
        # A sum of absolute values grows with the noise that resampling adds: brought back to where it began.
        drawn = (drawn - np.nanmean(drawn) + value).clip(0)
    return _Scored(endpoint, system, better, value, drawn, n)


def _told(name: str, found: list[_Scored]) -> list[Metric]:
    """A score of all endpoints, their means over those in which both are defined, and the means' difference."""
    mine = [one for one in found if one.system == MODEL]
    theirs = [one for one in found if one.system != MODEL]
    told = [one.metric(name) for one in found]
    both = [pair for pair in zip(mine, theirs, strict=True) if not any(math.isnan(one.value) for one in pair)]
    if not both:
        return told
    means = [_mean([pair[side] for pair in both]) for side in (0, 1)]
    if len(both) > 1:
        told += [mean.metric(name) for mean in means]
    one, other = means
    apart = _Scored(one.endpoint, DIFFERENCE, one.better, one.value - other.value, one.drawn - other.drawn, one.n)
    return [*told, apart.metric(name)]


def _mean(found: list[_Scored]) -> _Scored:
    """The mean over endpoints, each counting alike; on a resample, over those that it defines."""
    import numpy as np

    if len(found) == 1:
        return found[0]
    first = found[0]
    table = np.stack([one.drawn for one in found])
    defined = (~np.isnan(table)).sum(0)
    drawn = np.where(defined > 0, np.nansum(table, axis=0) / np.maximum(defined, 1), math.nan)
    value = sum(one.value for one in found) / len(found)
    return _Scored(None, first.system, first.better, value, drawn, sum(one.n for one in found))


def _chosen(found: Predicted, places: list[int]) -> Predicted:
    return Predicted([found.smiles[at] for at in places], found.labels[places], found.values[places])


def _scaffold(smiles: str) -> str:
    """Bemis and Murcko's, of however many rings; "" without any. Stereochemistry does not tell two apart."""
    from rdkit.Chem.Scaffolds import MurckoScaffold

    return MurckoScaffold.MurckoScaffoldSmiles(mol=parsed(smiles), includeChirality=False)  # type: ignore[no-untyped-call,no-any-return]


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)
