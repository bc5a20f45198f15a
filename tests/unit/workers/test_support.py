"""Support on sentences of our own, and on the 300 that experts wrote about ACLSum's 100 test papers.

ACLSum: Takeshita et al., 2024. What is measured here stands in the docstring of `workers.support`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from random import Random

import pytest

from workers.support import Evidence

PAPER = [
    "Catalysts were prepared from nickel nitrate by precipitation.",
    "The mixture was stirred at 80 °C for 12.5 h, and the yield was 1,200 mg.",
    "Ethanol was oxidised to acetic acid over the nickel catalyst.",
    "Mutants of p53 were expressed in three cell lines.",
]


def support(sentence: str) -> float:
    return Evidence(PAPER).backing(sentence).score


@pytest.mark.parametrize("place", range(len(PAPER)))
def test_a_sentence_of_the_paper_is_backed_by_itself_alone_and_wholly(place: int) -> None:
    backing = Evidence(PAPER).backing(PAPER[place])
    assert (backing.place, backing.score) == (place, pytest.approx(1.0))


def test_words_count_in_any_of_their_forms() -> None:
    assert support("Nickel catalysts oxidised ethanol") == pytest.approx(1.0)
    assert support("the Nickel CATALYST oxidises ethanol.") == pytest.approx(1.0)


def test_a_sentence_may_fuse_two_of_the_paper_and_is_backed_most_by_the_one_that_holds_more() -> None:
    backing = Evidence(PAPER).backing("Nickel nitrate was precipitated, preparing catalysts that oxidise ethanol.")
    assert (backing.place, backing.score) == (0, pytest.approx(1.0))


def test_a_word_that_the_paper_has_not_lowers_the_score() -> None:
    assert 0.5 < support("Ethanol was oxidised to benzoic acid over the nickel catalyst.") < 0.9
    assert support("Whales sing.") == 0.0


@pytest.mark.parametrize(
    ("said", "wrong"),
    [("80 °C", "90 °C"), ("12.5 h", "125 h"), ("12.5 h", "12.6 h"), ("1,200 mg", "1.2 mg"), ("80 °C", "3 °C")],
)
def test_a_wrong_figure_leaves_a_quarter_at_most(said: str, wrong: str) -> None:
    assert support(PAPER[1].replace(said, wrong)) <= 0.25


def test_each_wrong_figure_counts() -> None:
    assert support(PAPER[1].replace("80", "70").replace("12.5", "11.5")) <= 0.25**2


def test_a_name_with_a_digit_is_a_figure() -> None:
    assert support("Mutants of p63 were expressed in three cell lines.") <= 0.25


def test_a_figure_counts_in_any_of_its_forms() -> None:
    assert support(PAPER[1].replace("1,200", "1200").replace("12.5", "12.50")) == pytest.approx(1.0)
    assert support("Mutants of p53 were expressed in 3 cell lines.") == pytest.approx(1.0)


def test_a_figure_of_another_sentence_is_no_backing() -> None:
    assert support("Catalysts were prepared from 80 nickel nitrate by precipitation.") <= 0.25


def test_a_number_in_letters_is_a_word_like_others() -> None:
    assert support("Mutants of p53 were expressed in four cell lines.") > 0.6


@pytest.mark.parametrize("empty", ["", "...", "It was the same."])
def test_a_sentence_without_a_word_to_go_by_has_no_support(empty: str) -> None:
    assert support(empty) == 0.0


@dataclass(frozen=True)
class Annotated:
    """One sentence by an expert, the sentences of the paper it is about, and which of them were marked for it."""

    evidence: Evidence
    sentence: str
    marked: frozenset[int]


PARTS = ("abstract", "introduction", "conclusion")
FIGURE = re.compile(r"(?<![\w.,])\d+(?:[.,]\d+)*(?!\w)")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, dict[str, list[str]]]]:
    file = Path(str(metadata.distribution("aclsum").locate_file("aclsum/dataset/test.jsonl")))
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def experts(rows: list[dict]) -> list[Annotated]:
    found = []
    for row in rows:
        evidence = Evidence(sentence for part in PARTS for sentence in row["sentences"][part])
        for aspect, sentence in row["summary"].items():
            marks = [mark for part in PARTS for mark in row["highlights"][aspect][part]]
            found.append(Annotated(evidence, sentence, frozenset(at for at, mark in enumerate(marks) if mark)))
    assert len(found) == 300
    return found


def auroc(high: list[float], low: list[float]) -> float:
    """How often one of the first is above one of the second; equal ones count half."""
    return sum((one > two) + (one == two) / 2 for one in high for two in low) / (len(high) * len(low))


def share(truths: list[bool]) -> float:
    return sum(truths) / len(truths)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_experts_sentences_are_supported_by_their_own_paper_and_not_by_others(experts: list[Annotated]) -> None:
    draw = Random(0)
    own = [one.evidence.backing(one.sentence).score for one in experts]
    papers = list({id(one.evidence): one.evidence for one in experts}.values())
    foreign = [
        other.backing(one.sentence).score
        for one in experts
        for other in draw.sample(papers, 4)
        if other is not one.evidence
    ]
    print(f"own {mean(own):.3f}, others {mean(foreign):.3f}, AUROC {auroc(own, foreign):.4f}")
    assert auroc(own, foreign) > 0.99
    assert mean(own) > 0.6 and mean(foreign) < 0.2


def test_what_backs_most_is_among_what_experts_marked(experts: list[Annotated]) -> None:
    hits = [one.evidence.backing(one.sentence).place in one.marked for one in experts if one.marked]
    print(f"{share(hits):.3f} of {len(hits)}")
    assert len(hits) > 280 and share(hits) > 0.85


def test_a_word_exchanged_for_another_experts_lowers_the_score(experts: list[Annotated]) -> None:
    draw = Random(0)
    word = re.compile(r"[^\W\d_]{6,}")  # long enough to be no common one
    pool = [found for one in experts for found in word.findall(one.sentence)]
    altered, kept = [], []
    for one in experts:
        place = draw.choice(list(word.finditer(one.sentence)))
        other = draw.choice([found for found in pool if found[:4].lower() != place[0][:4].lower()])
        sentence = one.sentence[: place.start()] + other + one.sentence[place.end() :]
        altered.append(one.evidence.backing(sentence).score)
        kept.append(one.evidence.backing(one.sentence).score)
    lower = share([new < old for new, old in zip(altered, kept, strict=True)])
    print(f"lower {lower:.3f}, AUROC {auroc(kept, altered):.3f}")
    assert lower > 0.75


def test_a_figure_exchanged_pulls_the_score_down_hard(rows: list[dict]) -> None:
    """Abstracts' sentences with a figure that introduction or conclusion have too, which alone are the paper here."""
    draw = Random(0)
    kept, foreign, moved = [], [], []
    for row in rows:
        said = row["sentences"]["introduction"] + row["sentences"]["conclusion"]
        known = {found[0] for sentence in said for found in FIGURE.finditer(sentence)}
        evidence = Evidence(said)
        for sentence in row["sentences"]["abstract"]:
            places = [found for found in FIGURE.finditer(sentence) if found[0] in known]
            elsewhere = sorted(known - set(FIGURE.findall(sentence)))
            if not places or not elsewhere:
                continue
            place = draw.choice(places)
            new = next(n for n in (str(draw.randint(13, 999)) for _ in range(1000)) if n not in known)
            kept.append(evidence.backing(sentence).score)
            for scored, figure in ((foreign, new), (moved, draw.choice(elsewhere))):
                scored.append(evidence.backing(sentence[: place.start()] + figure + sentence[place.end() :]).score)
    halved = [share([new <= old / 2 for new, old in zip(some, kept, strict=True)]) for some in (foreign, moved)]
    print(f"{len(kept)}: halved {halved}, AUROC {auroc(kept, foreign):.3f} {auroc(kept, moved):.3f}")
    print(f"means {mean(kept):.3f} {mean(foreign):.3f} {mean(moved):.3f}")
    assert len(kept) > 50
    assert halved[0] > 0.85 and auroc(kept, foreign) > 0.8
    assert halved[1] > 0.5 and auroc(kept, moved) > 0.65
