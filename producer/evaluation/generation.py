"""The metrics of generation, by the names of MOSES (Polykovskiy et al. 2020, Frontiers in Pharmacology 11:565644).

Each is defined as in that paper; where its published figures come from code that differs (IntDiv2), as in that code, so
that ours can be laid beside them. Every figure carries its denominator: of all samples, of the valid ones (which hold
duplicates), or of the distinct ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from producer.evaluation import chemnet, similarity
from producer.evaluation.intervals import of_mean, wilson
from producer.evaluation.metric import Better, Metric
from producer.evaluation.molecules import PROPERTIES, Described, Progress, describe
from producer.evaluation.reference import Reference
from producer.novelty import Known
from producer.yields import key_of

if TYPE_CHECKING:
    from schemas.scores import Array

_SAMPLES, _VALID, _DISTINCT = "samples", "valid samples", "distinct valid molecules"
_UNIQUE_AT = {"1k": 1000, "10k": 10_000}
_BETTER: dict[str, Better] = {"QED": "higher", "SA": "lower"}


def judge(
    smiles: Sequence[str], known: Reference, tests: Sequence[Reference], *, fcd: bool, progress: Progress
) -> list[Metric]:
    """All metrics of a set of samples.

    `known` is what the generator learnt from, for Novelty; each of `tests` a set that it should be like. FCD takes most
    of the time, and is left out unless asked for.

    Raises:
        ConfigurationError: a package is missing.  UsageError: a reference holds no molecules.
    """
    found = describe(smiles, filters=True, what="describing samples", progress=progress)
    metrics = [_share("Valid", len(found.canonical), found.given, _SAMPLES)]
    if not found.canonical:
        return metrics
    metrics += [unique(found.canonical, name, first) for name, first in _UNIQUE_AT.items()]
    metrics += [novelty(found.canonical, known.known(progress)), *_inside(found, progress)]
    sampled = None
    if fcd and len(found.canonical) > 1:
        sampled = chemnet.activations(found.canonical, what="ChemNet over samples", progress=progress)
    for test in tests:
        if sampled is not None:
            apart = chemnet.distance(sampled, test.chemnet(progress))
            metrics.append(
                _figure(f"FCD/{test.short}", apart, found, "lower", note="shrinks with the number of samples")
            )
        metrics += _beside(found, test, progress)
    return metrics


def unique(canonical: Sequence[str], name: str, first: int) -> Metric:
    """Unique@k: the share of distinct molecules among the first k valid samples, or all if there are fewer."""
    part = canonical[:first]
    note = "" if len(part) == first else "all valid samples there are"
    value = len(set(part)) / len(part)
    return Metric(name=f"Unique@{name}", value=value, n=len(part), of=_VALID, better="higher", note=note)


def novelty(canonical: Sequence[str], known: Known) -> Metric:
    """Novelty: the share of distinct valid molecules that are not among the known ones, by canonical SMILES."""
    import numpy as np

    distinct = sorted(set(canonical))
    found = known.holds(np.array([key_of(one) for one in distinct], np.uint64))
    return _share("Novelty", int((~found).sum()), len(distinct), _DISTINCT)


def cosine(one: Counter[str], other: Counter[str]) -> float | None:
    """Cosine similarity of two counts, None where one is empty: Frag over BRICS pieces, Scaf over scaffolds."""
    if not one or not other:
        return None
    product = sum(count * other[name] for name, count in one.items() if name in other)
    squares = sum(count**2 for count in one.values()) * sum(count**2 for count in other.values())
    return float(product / squares**0.5)


def internal_diversity(fingerprints: Array, progress: Progress) -> tuple[float, float]:
    """IntDiv, IntDiv2: one minus the mean similarity over all pairs of valid samples, each with itself included.

    IntDiv2 takes squares: one minus the mean over samples of the root of each one's mean squared similarity, as MOSES's
    published figures do (the paper's formula takes the root after both means, which gives a little less).
    """
    import numpy as np

    means, squares = similarity.internal(fingerprints, what="comparing samples", progress=progress)
    return float(1 - means.mean()), float(1 - np.sqrt(squares).mean())


def _inside(found: Described, progress: Progress) -> list[Metric]:
    """What needs no other set: diversity, filters, and means of properties."""
    assert found.passes is not None  # noqa: S101 - asked for above
    diversity = internal_diversity(found.fingerprints, progress)
    metrics = [
        _figure(name, value, found, "higher") for name, value in zip(("IntDiv", "IntDiv2"), diversity, strict=True)
    ]
    metrics.append(_share("Filters", int(found.passes.sum()), len(found.passes), _VALID))
    return metrics + [_mean(f"{name} mean", found.properties[name], _BETTER.get(name)) for name in PROPERTIES]


def _beside(found: Described, test: Reference, progress: Progress) -> list[Metric]:
    """SNN (mean similarity to the nearest test molecule), Frag, Scaf, and distances of properties' distributions."""
    from scipy.stats import wasserstein_distance

    other = test.described(progress)
    closest = similarity.nearest(
        found.fingerprints, other.fingerprints, what=f"comparing with {test.name}", progress=progress
    )
    metrics = [_mean(f"SNN/{test.short}", closest, "higher")]
    for name, mine, theirs in (
        ("Frag", found.fragments, other.fragments),
        ("Scaf", found.scaffolds, other.scaffolds),
    ):
        value = cosine(mine, theirs)
        note = "" if value is not None else "one of the sets has none"
        metrics.append(_figure(f"{name}/{test.short}", value, found, "higher", note=note))
    for name in PROPERTIES:
        apart = float(wasserstein_distance(found.properties[name], other.properties[name]))
        metrics.append(_figure(f"{name} distance/{test.short}", apart, found, "lower"))
    return metrics


def _share(name: str, count: int, n: int, of: str) -> Metric:
    low, high = wilson(count, n)
    return Metric(name=name, value=count / n, n=n, of=of, better="higher", low=low, high=high)


def _mean(name: str, values: Array, better: Better | None) -> Metric:
    low, high = of_mean(values)
    return Metric(name=name, value=float(values.mean()), n=len(values), of=_VALID, better=better, low=low, high=high)


def _figure(name: str, value: float | None, found: Described, better: Better, note: str = "") -> Metric:
    return Metric(name=name, value=value, n=len(found.canonical), of=_VALID, better=better, note=note)
