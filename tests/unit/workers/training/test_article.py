"""Papers as token ids: read as the engine reads them, the target nowhere in it, long ones in proportion."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.items import Item, Paper, Section
from tests.seq2seq_checkpoint import paper, unigram
from workers.engines.contract import Prepared
from workers.engines.seq2seq_cpu import WindowWork
from workers.papers import Place
from workers.training.article import Articles, Example, in_proportion, without
from workers.training.paper_source import Pair

PREFIX = "summarize: "


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return unigram()


def example(tokenizer: Any, pair: Pair, reads: int = 128, writes: int = 64) -> Example | str:
    return Articles(tokenizer, prefix=PREFIX, reads=reads, writes=writes).example(0, pair)


def text(tokenizer: Any, ids: Any) -> str:
    return str(tokenizer.decode(ids.tolist(), skip_special_tokens=True))


@pytest.mark.parametrize("number", range(8))
def test_a_paper_that_fits_is_read_token_for_token_as_by_the_engine(tokenizer: Any, number: int) -> None:
    written = paper(number, 8)
    (unit,) = WindowWork(tokenizer.backend_tokenizer, 512).prepare(Item(0, written), {"prefix": PREFIX})
    made = example(tokenizer, Pair(written, "Enzyme binds."), reads=512)
    assert isinstance(unit, Prepared) and isinstance(made, Example)
    assert unit.data.windows == (tuple(made.source.tolist()),)
    assert text(tokenizer, made.source).startswith(PREFIX)


@pytest.mark.parametrize("number", range(8))
def test_of_a_long_paper_the_beginning_of_each_section_is_read_in_one_window(tokenizer: Any, number: int) -> None:
    written = paper(number, 24)
    made = example(tokenizer, Pair(written, "Enzyme binds."), reads=220)
    assert isinstance(made, Example)
    assert 220 * 0.6 < len(made.source) <= 220
    assert made.source[-1] == tokenizer.eos_token_id
    read = text(tokenizer, made.source)
    beginnings = [section.paragraphs[0].split(".")[0] for section in written.sections]
    assert sum(beginning in read for beginning in beginnings) >= len(beginnings) - 1  # one may wait for the next share


def test_a_target_is_cut_behind_a_sentence_and_ends_as_every_text(tokenizer: Any) -> None:
    long = " ".join(f"The enzyme binds {number} ligands in water." for number in range(20))
    made = example(tokenizer, Pair(paper(1), long))
    assert isinstance(made, Example)
    said = text(tokenizer, made.target)
    assert long.startswith(said) and said.endswith("in water.")
    assert len(made.target) <= 64 and made.target[-1] == tokenizer.eos_token_id


def test_a_target_that_stands_whole_in_the_paper_is_taken_out_of_it(tokenizer: Any) -> None:
    target = "The polymer melts in ethanol. It raises 17 crystals."
    leaking = Paper("", (Section("", (f"The enzyme binds 3 ligands. {target} The mutant folds.",)),))
    made = example(tokenizer, Pair(leaking, target))
    assert isinstance(made, Example)
    assert text(tokenizer, made.source) == f"{PREFIX}The enzyme binds 3 ligands. The mutant folds."


@pytest.mark.parametrize(
    ("written", "target", "reason"),
    [
        (Paper("", ()), "Said.", "without text beside the target"),
        (Paper("", (Section("", ("Said.",)),)), "Said.", "without text beside the target"),
        (paper(1), "The enzyme binds " * 60, "with a target whose first sentence has more than 64 tokens"),
    ],
)
def test_what_cannot_be_learnt_from_has_its_reason(tokenizer: Any, written: Paper, target: str, reason: str) -> None:
    assert example(tokenizer, Pair(written, target)) == reason


def test_a_prefix_as_long_as_the_window_is_a_reason_too(tokenizer: Any) -> None:
    assert example(tokenizer, Pair(paper(1), "Said."), reads=4) == "with a prefix that leaves no room"


LENGTHS = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=8), min_size=1, max_size=6)


@given(LENGTHS, st.integers(40, 200))
def test_shares_stay_within_the_room_in_reading_order(sections: list[list[int]], room: int) -> None:
    places = [Place(f"{at}.{no}", at, no) for at, lengths in enumerate(sections) for no in range(len(lengths))]
    lengths = {place.text: sections[place.section][place.sentence] for place in places}
    kept = in_proportion(places, list(lengths.values()), room)
    assert kept
    assert kept == [place for place in places if place in kept]
    assert sum(lengths[place.text] for place in kept) <= room
    for at in range(len(sections)):
        taken = [place.sentence for place in kept if place.section == at]
        assert taken == list(range(len(taken)))
    if sum(lengths.values()) <= room:
        assert kept == places


def test_only_the_whole_target_is_taken_out() -> None:
    places = [Place(text, 0, at) for at, text in enumerate(["A.", "B.", "C.", "A."])]
    assert [place.text for place in without(places, ["A.", "B."])] == ["C.", "A."]
    assert without(places, ["A.", "C."]) == places
