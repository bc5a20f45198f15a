"""The metrics of summaries against references, beside the first three sentences of each paper.

ROUGE is `schemas.rouge`'s, averaged over papers. BLEU is sacrebleu's over the whole corpus, 0 to 100; its version and
settings are in the metric's note, since figures compare only under the same ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from producer.evaluation.intervals import RESAMPLES, of_mean
from producer.evaluation.metric import MODEL, Metric
from producer.evaluation.molecules import Progress
from producer.evaluation.outcomes import Row
from schemas.errors import UsageError
from schemas.items import Paper
from schemas.rouge import LEAD, NAMES, Rouge, lead
from schemas.sentences import split

ABSTRACTS = "abstract"  # the papers' own, rather than a column
_OF = "papers"
_SHARES = ("coverage", "support")  # of an outcome, 0 to 1


@dataclass(slots=True)
class Pair:
    """A summary, the reference for it and the paper's lead, each with a sentence a line; and the outcome's shares."""

    summary: str
    reference: str
    lead: str
    shares: dict[str, float]


def pairs(rows: Iterable[Row], reference: str, counts: Counter[str]) -> list[Pair]:
    """A job's summaries with their references: a column's text, or the papers' abstracts; `counts` gets the others.

    Raises:
        UsageError: no paper has a reference.
    """
    found = []
    names: dict[str, None] = {}
    for row in rows:
        counts["rows"] += 1
        given = row["given_columns"] or {}
        names |= dict.fromkeys(given)
        if row["error_code"] is not None:
            counts["failed"] += 1
            continue
        paper = Paper.from_json(row["given_paper"])
        text = (reference == ABSTRACTS and paper.abstract) or given.get(reference)  # a column may be called so
        if not isinstance(text, str) or not text.strip():
            counts["without a reference"] += 1
            continue
        chosen = [one["text"] for one in row["sentences"] or ()] or split(row["text"])
        shares = {name: row[name] for name in _SHARES if row.get(name) is not None}
        found.append(Pair("\n".join(chosen), "\n".join(split(text)), "\n".join(lead(paper)), shares))
    if not found:
        what = "has an abstract" if reference == ABSTRACTS else f"has text in a column '{reference}'"
        raise UsageError(
            f"no summarized paper {what}; name the column of the references (--reference COLUMN). "
            f"The corpus has the columns: {', '.join(names) or '(none)'}"
        )
    return found


def judge(found: Sequence[Pair], progress: Progress) -> list[Metric]:
    """ROUGE and BLEU of the summaries and of the leads, and means of the shares that outcomes carry."""
    references = [one.reference for one in found]
    metrics = []
    for system, texts in ((MODEL, [one.summary for one in found]), (LEAD, [one.lead for one in found])):
        metrics += [*rouge(texts, references, system, progress), bleu(texts, references, system)]
    for name in _SHARES:
        values = [one.shares[name] for one in found if name in one.shares]
        if values:
            metrics.append(_mean(name, values, MODEL))
    return metrics


def rouge(texts: Sequence[str], references: Sequence[str], system: str, progress: Progress) -> list[Metric]:
    """ROUGE-1, -2, -L and -Lsum, with bootstrap intervals over papers."""
    scorer = Rouge()
    scores: dict[str, list[float]] = {name: [] for name in NAMES}
    for place, (text, reference) in enumerate(zip(texts, references, strict=True)):
        progress(f"ROUGE of {system}", place, len(texts))
        for name, score in scorer.f1(text, reference).items():
            scores[name].append(score)
    return [_mean(name, scores[name], system) for name in NAMES]


def bleu(texts: Sequence[str], references: Sequence[str], system: str) -> Metric:
    """BLEU of the corpus, with sacrebleu's bootstrap over papers."""
    from sacrebleu.metrics.bleu import BLEU

    measure = BLEU()
    flat = [" ".join(text.split()) for text in references]
    found: Any = measure.corpus_score([" ".join(text.split()) for text in texts], [flat], n_bootstrap=RESAMPLES)
    # Half the interval is not public in sacrebleu, but in all its printed scores.
    return Metric(
        name="BLEU",
        value=found.score,
        n=len(texts),
        of=_OF,
        better="higher",
        low=found._mean - found._ci,
        high=found._mean + found._ci,
        system=system,
        note=str(measure.get_signature()),
    )


def _mean(name: str, values: Sequence[float], system: str) -> Metric:
    import numpy as np

    array = np.array(values, np.float64)
    low, high = of_mean(array)
    mean = float(array.mean())
    return Metric(name=name, value=mean, n=len(array), of=_OF, better="higher", low=low, high=high, system=system)
