import pytest

from schemas.items import Paper, Section
from workers.papers import ABSTRACT, body, is_aside

PAPER = Paper(
    title="On cells",
    abstract="We did it. It worked.",
    sections=(
        Section("1. Introduction", ("Cells grow. 3.5.", "They divide.")),
        Section("References", ("Smith wrote it.",)),
        Section("Abstract", ("We did it. It worked.",)),
        Section("Results", ("They did.",)),
    ),
)


def test_sentences_carry_their_section_and_their_number_there() -> None:
    places = [(place.text, place.section, place.sentence) for place in body(PAPER)]
    assert places == [("Cells grow.", 0, 0), ("They divide.", 0, 2), ("They did.", 3, 0)]


def test_the_abstract_comes_first_when_it_is_asked_for() -> None:
    assert [place.section for place in body(PAPER, include_abstract=True)] == [ABSTRACT, ABSTRACT, 0, 0, 2, 2, 3]


def test_a_paper_with_nothing_but_an_abstract_is_read_from_it() -> None:
    assert [place.section for place in body(Paper("On cells", (), "We did it. It worked."))] == [ABSTRACT, ABSTRACT]


def test_a_paper_of_references_alone_has_no_sentence() -> None:
    assert body(Paper("On cells", (Section("References", ("Smith wrote it.",)),))) == []


@pytest.mark.parametrize(
    "title",
    [
        "REFERENCES",
        "6. References",
        "VII. Acknowledgement",
        "Acknowledgments and Funding",
        "Authors’ contributions",
        "Conflict of Interest Statement",
        "Availability of data and materials",
        "Supporting Information",
        "Key words",
        "Ethics approval and consent to participate",
        "Declaration of interests",
        "Pre-publication history",
    ],
)
def test_sections_outside_the_argument_are_known_by_title(title: str) -> None:
    assert is_aside(title)


@pytest.mark.parametrize(
    "title",
    [
        "",
        "Introduction",
        "Materials and Methods",
        "Materials",
        "Reference genome",
        "Funding landscape",
        "Appendix A",
        "Results/Discussion",
        "C. elegans strains",
        "Data",
        "Additional experiments",
    ],
)
def test_sections_of_the_argument_are_kept(title: str) -> None:
    assert not is_aside(title)
