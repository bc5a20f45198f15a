"""ROUGE of summaries, and the lead that a summarizer must beat: for evaluations and for training alike.

F1 with stemming by rouge-score (Lin 2004; Google's implementation); for rougeLsum sentences stand on lines of their
own.
"""

from __future__ import annotations

from schemas.items import Paper
from schemas.sentences import split

LEAD = "lead-3"
_MEASURES = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum"}
NAMES = tuple(_MEASURES.values())


class Rouge:
    """A scorer, set up once for many texts."""

    def __init__(self) -> None:
        from rouge_score.rouge_scorer import RougeScorer

        self._scorer = RougeScorer(list(_MEASURES), use_stemmer=True)

    def f1(self, text: str, reference: str) -> dict[str, float]:
        """F1 by each of `NAMES`, 0 to 1, of a text against its reference, a sentence a line in both."""
        scores = self._scorer.score(reference, text)
        return {name: float(scores[measure].fmeasure) for measure, name in _MEASURES.items()}


def lead(paper: Paper, sentences: int = 3) -> list[str]:
    """The first sentences of a paper's body: what a summarizer must beat."""
    found: list[str] = []
    for section in paper.sections:
        for paragraph in section.paragraphs:
            found += split(paragraph)
            if len(found) >= sentences:
                return found[:sentences]
    return found
