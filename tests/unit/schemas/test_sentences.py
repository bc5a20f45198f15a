from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.sentences import spans, split

PIECES = 'The cell et al. Fig. 3 0.5 E. coli (see below.) [12] end. so? No! ... • J. mRNA 1. i.e. ü. 。 ) ( "Yes."'
TRICKY = st.lists(st.sampled_from([*PIECES.split(), "\n\n", " \n", "\u2003", "\u00a0"])).flatmap(
    lambda words: st.sampled_from([" ", "  ", "\n", ""]).map(lambda between: between.join(words))
)


@pytest.mark.parametrize(
    "sentences",
    [
        ["As Smith et al. (2019) saw, E. coli grows at 0.5 mM.", "S. aureus did not (Fig. 2B).", "It died."],
        ["Dr. J. R. Smith of the U.S. National Library, i.e. a library, wrote no. 5.", "We agree."],
        ["Cells were incubated for 10 min.", "Cells were washed.", "mRNA was extracted.", "p53 was absent."],
        ["It grew.[12,13]", "The rest died.12,13", "Nothing did.4", "See Ref. 7."],
        ["They were lost (see Lee et al. 2004. Data not shown) again.", "Then came more."],
        ["1. Introduction to this.", "2. Methods follow."],
        ["Was it so?", '"Yes."', "He went!", "Approx. 5 % of it vs. the rest."],
        ["This was shown by Lee et al.", "The group of patients was A.", "However, it grew etc.", "We stop."],
        ["The answer is no.", "Bacillus sp. Strain 3 grew to pH 7.4.", "α-Catenin did not."],
        ["A heading without a stop", "• first point", "• second point"],
        ["Existing systems ( MT ) fail .", "However , ours ( e.g . X ) works ."],
    ],
)
def test_scientific_prose_is_cut_where_its_sentences_end(sentences: list[str]) -> None:
    assert split(" ".join(sentences)) == sentences


def test_a_blank_line_ends_a_sentence_without_a_stop() -> None:
    assert split("Results\n\nIt grew.\n \nAnd grew") == ["Results", "It grew.", "And grew"]


@pytest.mark.parametrize("text", ["", " ", "\n\n \t"])
def test_white_space_holds_no_sentence(text: str) -> None:
    assert split(text) == []


@given(st.one_of(st.text(), TRICKY))
def test_no_character_is_lost_and_the_order_is_kept(text: str) -> None:
    sentences = split(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() != "" for sentence in sentences)


@given(TRICKY)
def test_spans_ascend_without_overlap_and_only_white_space_lies_between(text: str) -> None:
    position = 0
    for begin, end in spans(text):
        assert position <= begin < end
        assert not text[position:begin].strip()
        position = end
    assert not text[position:].strip()


@pytest.mark.parametrize(
    "text", ["." * 200_000, "e.g. " * 40_000, "(A. " * 40_000, " \n" * 100_000 + "x", ". [1 " * 40_000]
)
def test_hostile_text_takes_linear_time(text: str) -> None:
    started = perf_counter()
    split(text)
    assert perf_counter() - started < 5
