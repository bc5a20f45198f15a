"""How far a paper backs a sentence that was written about it: by its words and its figures, without a model.

A sentence's words are weighted by how rare they are in the paper. The score is the share of their weight that two
sentences of the paper hold, the one that holds most and the one that adds most to it, since a summary fuses what
several say; a quarter of it for each figure that no related sentence of the paper has. It measures agreement of
words and figures, not truth: it sees no negation, and a paraphrase costs what it puts into other words.

Measured by `tests/unit/workers/test_support.py` on the 300 sentences that experts wrote about ACLSum's 100 test papers
(the words left out and the endings were chosen on its other 150 papers, the constants on all papers' abstracts):

* a sentence scores .68 on average against its own paper and .14 against another one, AUROC .998; in 90 % of cases what
  is said to back it most is one of the sentences that the experts had marked for it;
* one content word exchanged for another expert's lowers the score in 79 % (AUROC .59 between all old and all new
  sentences: experts paraphrase as freely as that);
* in 63 sentences of abstracts, against the rest of the paper, one figure exchanged for a foreign one at least halves
  the score in 90 % (means .55 and .11, AUROC .86), and for another figure of the same paper in 57 % (.31, AUROC .69).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

MISSING_FIGURE = 0.25  # what is left of the score for each figure without backing
RELATED = 0.3  # a sentence is, if it holds this share of the word weight that the best one holds

# A number, with its decimals or thousands; a name that holds a digit, such as p53; a word.
_TOKEN = re.compile(r"\d+(?:[.,·]\d+)*|[^\W\d_]+\d[^\W_]*|[^\W\d_]+")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
# "-ate" and "-ic" stay: a nitrate is no nitrite, and nothing nitric.
_ENDING = re.compile(
    r"(?<=...)(?:i[sz]ations?|i[sz](?:ed?|es|ing)|ations?|at(?:ed|ing|ive(?:ly)?|ors?)|ements?|ingly|edly|ments?|ness"
    r"|ings?|i(?:es|ed|ty|ties)|ions?|i?ve(?:ly)?|ers?|ed|es|ally|al|ly|s|e|y)\Z"
)


def _listed(names: str) -> list[str]:
    return names.split()


_NUMERALS = {
    name: str(number)
    for number, name in enumerate(_listed("two three four five six seven eight nine ten eleven twelve"), start=2)
}
_COMMON = frozenset(
    _listed(
        """a an the this that these those there it its he she they them we our us i you your of in on at as by for
        from to with within without into onto over under between among through during via per than then and or
        nor but not no so if is are was were be been being am do does did done has have had having can could may
        might shall should will would must which who whom whose what when where while how why also such both each
        all any some more most other their his her about above after before because against up out only own same
        too very just here however thus therefore hence whether using use used propose proposed show shows paper
        work"""
    )
)


@dataclass(frozen=True, slots=True)
class Backing:
    """What backs a sentence: the place of the source sentence that holds most of it, and the score, 0 to 1."""

    place: int
    score: float


class Evidence:
    """A paper's sentences, by the words and figures in each."""

    def __init__(self, sentences: Iterable[str]) -> None:
        """At least one sentence."""
        self._places: dict[str, list[int]] = {}  # in which sentences each is
        self._count = 0
        for place, sentence in enumerate(sentences):
            self._count += 1
            for word in _words(sentence):
                self._places.setdefault(word, []).append(place)

    def backing(self, sentence: str) -> Backing:
        """What backs a sentence. One without a word to go by has score 0."""
        words = _words(sentence)
        weights = {word: math.log1p(self._count / (0.5 + len(self._places.get(word, ())))) for word in words}
        best, held = self._most(weights)
        rest = {word: weight for word, weight in weights.items() if best not in self._places.get(word, ())}
        added = self._most(rest)[1]
        if not held:
            return Backing(best, 0.0)
        share = min(1.0, (held + added) / sum(weights.values()))  # sums in another order may differ in the last digit
        return Backing(best, share * MISSING_FIGURE ** self._missing(words, weights))

    def _most(self, weights: dict[str, float]) -> tuple[int, float]:
        """The first sentence that holds most of these words' weight, and how much that is."""
        held = self._held(weights)
        best = max(held, key=lambda place: (held[place], -place), default=0)
        return best, held.get(best, 0.0)

    def _held(self, weights: dict[str, float]) -> dict[int, float]:
        """How much of these words' weight each sentence holds that holds any."""
        held: dict[int, float] = {}
        for word, weight in weights.items():
            for place in self._places.get(word, ()):
                held[place] = held.get(place, 0.0) + weight
        return held

    def _missing(self, words: dict[str, bool], weights: dict[str, float]) -> int:
        """How many figures no sentence has that is related to the one in question by its words."""
        figures = [word for word, is_figure in words.items() if is_figure]
        if not figures:
            return 0
        held = self._held({word: weight for word, weight in weights.items() if not words[word]})
        bar = RELATED * max(held.values(), default=0.0)
        return sum(not any(held.get(place, 0.0) >= bar for place in self._places.get(figure, ())) for figure in figures)


def _words(sentence: str) -> dict[str, bool]:
    """A sentence's distinct words, common ones left out, in one form each; and whether each is a figure.

    A number in letters is taken for the same as one in digits, but for no figure: "in two steps" claims little.
    """
    found: dict[str, bool] = {}
    for token in _TOKEN.findall(sentence):
        word = token.lower()
        is_figure = any(letter.isdecimal() for letter in word)
        if word not in _COMMON:
            form = _number(word) if is_figure else _NUMERALS.get(word) or _ENDING.sub("", word)
            found[form] = found.get(form, False) or is_figure
    return found


def _number(word: str) -> str:
    """A figure in one form: without commas between thousands, and without zeros behind its decimals."""
    if _THOUSANDS.fullmatch(word):
        word = word.replace(",", "")
    word = word.replace("·", ".").replace(",", ".")
    return word.rstrip("0").rstrip(".") if word.count(".") == 1 else word
