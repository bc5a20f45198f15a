"""Articles in JATS and NLM XML: structure, running text, identifiers, and files that attack the parser."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from lxml import etree

from producer.readers.open import read
from schemas.errors import RowError
from schemas.items import ContentKind, Paper, Record, Rejected, Section

PAPER = ContentKind.PAPER


def read_xml(tmp_path: Path, xml: str | bytes) -> list[Record]:
    file = tmp_path / "a.xml"
    file.write_bytes(xml if isinstance(xml, bytes) else xml.encode())
    return list(read(file, kind=PAPER))


def body(tmp_path: Path, xml: str) -> tuple[Section, ...]:
    (record,) = read_xml(tmp_path, f"<article xmlns:xlink='http://www.w3.org/1999/xlink'><body>{xml}</body></article>")
    assert isinstance(record.content, Paper)
    return record.content.sections


def text(tmp_path: Path, xml: str) -> str:
    ((paragraph,),) = (section.paragraphs for section in body(tmp_path, f"<p>{xml}</p>"))
    return paragraph


def code(record: Record) -> RowError | None:
    return record.content.code if isinstance(record.content, Rejected) else None


def test_nested_sections_carry_their_path_and_keep_reading_order(tmp_path: Path) -> None:
    sections = body(
        tmp_path,
        "<p>Lead.</p><boxed-text><sec><title>Box 1</title><p>B</p></sec></boxed-text><p>Lead 2.</p>"
        "<sec><title>Methods</title><p>M1</p><sec><title>Statistics</title><p>S1</p><p>S2</p>"
        "<sec><p>Untitled.</p></sec></sec><p>M2</p></sec><sec><title>Empty</title></sec>",
    )
    assert sections == (
        Section("", ("Lead.", "Lead 2.")),
        Section("Box 1", ("B",)),
        Section("Methods", ("M1",)),
        Section("Methods > Statistics", ("S1", "S2")),
        Section("Methods > Statistics", ("Untitled.",)),
        Section("Methods", ("M2",)),
    )


def test_lists_and_quotes_within_a_paragraph_divide_it_in_order(tmp_path: Path) -> None:
    sections = body(
        tmp_path,
        "<p>Before <list><title>T</title><list-item><label>1</label><p>one</p></list-item>"
        "<list-item><p>two</p></list-item></list> after.</p><disp-quote><p>Quote</p></disp-quote>",
    )
    assert sections == (Section("", ("Before", "one", "two", "after.", "Quote")),)


def test_figures_tables_formulas_and_notes_are_not_in_the_text(tmp_path: Path) -> None:
    apart = (
        "<fig><label>F</label><caption><p>C</p></caption></fig><table-wrap><table><tr><td>D</td></tr></table>"
        "</table-wrap><disp-formula><tex-math>x</tex-math></disp-formula><supplementary-material><p>E</p>"
        "</supplementary-material><ref-list><ref/></ref-list><fn><p>N</p></fn>"
    )
    assert body(tmp_path, f"<p>One{apart} two.</p>{apart}<p>{apart}</p>") == (Section("", ("One two.",)),)


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ("in [C1]–[C2], [C3].", "in."),
        ("in (C1, C2) cells", "in cells"),
        ("cells<sup>C1,C2</sup>.", "cells."),
        ("in 1990<sup>C1</sup>.", "in 1990."),
        ("Reisine <italic>et al</italic>. [C1] examined", "Reisine et al. examined"),
        ("system <xref ref-type='bibr'>[1]</xref>, <xref ref-type='bibr'>[2]</xref>, by", "system, by"),
        ("as <xref ref-type='bibr'>Smith et al., 2003</xref> say", "as Smith et al., 2003 say"),
        ("see (C1", "see ("),
        ("(see <xref ref-type='fig'>Figure 2</xref>)", "(see Figure 2)"),
        ("10<sup>5</sup> H<sub>2</sub>O Ca<sup>2+</sup> p16<sup>INK4a</sup>", "10^5 H2O Ca2+ p16INK4a"),
        ("a<!-- no -->b<?pi no?>c<break/>d\n  e", "abc d e"),
        ("where <inline-formula><math><mi>x</mi></math></inline-formula> is", "where is"),
        ("<inline-formula><italic>k</italic></inline-formula> is", "k is"),
        ("private \ue000 use", "private use"),
    ],
)
def test_running_text(tmp_path: Path, xml: str, expected: str) -> None:
    for number in "123":
        xml = xml.replace(f"C{number}", f"<xref ref-type='bibr' rid='B{number}'>{number}</xref>")
    assert text(tmp_path, xml) == expected


FRONT = """<front><journal-meta><journal-title-group><journal-title>J. Test</journal-title></journal-title-group>
</journal-meta><article-meta><article-id pub-id-type="pmid">12</article-id><article-id pub-id-type="pmc">34</article-id>
<article-id pub-id-type="doi">10.1/x</article-id><title-group><article-title>On <italic>E. coli</italic></article-title>
</title-group><pub-date pub-type="ppub"><year>2012</year></pub-date>
<pub-date pub-type="epub"><year>2011</year></pub-date>
<permissions><license xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="http://cc/by"><license-p>Free.</license-p>
</license></permissions><abstract abstract-type="toc"><p>Teaser.</p></abstract><abstract><title>Abstract</title>
<sec><title>Background:</title><p>Why.</p><p>More.</p></sec><sec><title>Results</title><p>What.</p></sec></abstract>
</article-meta></front>"""


@pytest.mark.parametrize("root", ["<article>", "<article xmlns='http://jats.nlm.nih.gov'>"])
def test_front_matter_with_and_without_namespace(tmp_path: Path, root: str) -> None:
    (record,) = read_xml(tmp_path, f"{root}{FRONT}<body><p>Text.</p></body></article>")
    assert record == Record(
        Paper(
            "On E. coli",
            (Section("", ("Text.",)),),
            "Background: Why.\nMore.\nResults: What.",
            {
                "doi": "10.1/x",
                "pmid": "12",
                "pmcid": "PMC34",
                "licence": "http://cc/by",
                "journal": "J. Test",
                "year": "2011",
            },
        ),
        "a.xml",
    )


def test_an_article_of_an_abstract_alone_is_a_paper_and_one_of_a_title_alone_is_not(tmp_path: Path) -> None:
    (record,) = read_xml(tmp_path, f"<article>{FRONT}</article>")
    assert isinstance(record.content, Paper)
    assert record.content.sections == (Section("Abstract", ("Background: Why.", "More.", "Results: What.")),)
    (record,) = read_xml(
        tmp_path, f"<article>{FRONT.split('<abstract', maxsplit=1)[0]}</article-meta></front><body/></article>"
    )
    assert code(record) is RowError.EMPTY_TEXT


def test_a_set_of_articles_is_a_row_each(tmp_path: Path) -> None:
    article = "<article><body><p>T</p></body><sub-article><body><p>Reply</p></body></sub-article></article>"
    records = read_xml(tmp_path, f"<set>{article}<x>{article}</x></set>")
    assert [record.custom_id for record in records] == ["a.xml", "a.xml#2"]
    assert all(isinstance(r.content, Paper) and r.content.sections == (Section("", ("T",)),) for r in records)


def test_entities_of_the_unread_dtd_become_characters(tmp_path: Path) -> None:
    xml = "<!DOCTYPE article SYSTEM 'jats.dtd'><article><body><p>&alpha;-helix &unheard; x</p></body></article>"
    (record,) = read_xml(tmp_path, xml)
    assert isinstance(record.content, Paper)
    assert record.content.sections[0].paragraphs == ("α-helix &unheard; x",)


LAUGHS = "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 10))


@pytest.mark.parametrize(
    "xml",
    [
        f"<!DOCTYPE article [<!ENTITY a0 'lol'>{LAUGHS}]><article><body><p>&a9;</p></body></article>",
        f"<!DOCTYPE article [<!ENTITY a0 'lol'>{LAUGHS}]><article><body><p x='&a9;'>t</p></body></article>",
        "<!DOCTYPE article [<!ENTITY f SYSTEM 'file:///etc/passwd'>]><article><body><p>&f;</p></body></article>",
        "<!DOCTYPE article [<!ENTITY % f SYSTEM 'http://127.0.0.1:9/x'> %f;]><article><body><p>t</p></body></article>",
        "<article>" + "<sec>" * 5000 + "</sec>" * 5000 + "</article>",
        "<article><body><p>Text.",
        "<html><p>Text.</p></html>",
        "<?xml version='1.0' encoding='no-such'?><article/>",
        b"<article><body><p>\xff</p></body></article>",
        b"<article><body><p>a\0b</p></body></article>",
        "",
    ],
)
def test_a_file_that_attacks_or_breaks_off_is_rejected_at_once(tmp_path: Path, xml: str | bytes) -> None:
    start = time.monotonic()
    (record,) = read_xml(tmp_path, xml)
    assert code(record) is RowError.MALFORMED_XML
    assert time.monotonic() - start < 1


def test_xinclude_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    include = "<xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='secret.txt' parse='text'/>"
    assert text(tmp_path, f"Text{include}.") == "Text."


def test_a_file_in_utf16_is_read(tmp_path: Path) -> None:
    xml = "<?xml version='1.0' encoding='UTF-16'?><article><body><p>é</p></body></article>"
    (record,) = read_xml(tmp_path, xml.encode("utf-16"))
    assert isinstance(record.content, Paper)


def test_many_citations_take_linear_time(tmp_path: Path) -> None:
    start = time.monotonic()
    assert text(tmp_path, "x " + "(<xref ref-type='bibr'>1</xref>, " * 30_000 + "y").startswith("x")
    assert time.monotonic() - start < 5


APART = ("fig", "table-wrap", "supplementary-material", "caption", "fn", "disp-formula", "{*}math", "tex-math", "label")


def counted(file: Path) -> tuple[int, int]:
    """Sections with paragraphs of their own, and paragraphs, counted without our reader."""
    tree = etree.parse(file)
    etree.strip_elements(tree, *APART, with_tail=False)
    sections, paragraphs = set(), 0
    for paragraph in tree.xpath("/article/body//p"):
        runs = [paragraph.text or ""]  # what a list within the paragraph divides
        for child in paragraph:
            if child.tag == "list":
                runs.append("")
            else:
                runs[-1] += "".join(child.itertext())
            runs[-1] += child.tail or ""
        found = sum(bool(run.strip()) for run in runs)
        paragraphs += found
        if found:
            sections.add(next(paragraph.iterancestors("sec")))
    return len(sections), paragraphs


@pytest.mark.data
def test_all_sections_and_paragraphs_of_real_articles_are_kept(data_dir: Path) -> None:
    files = sorted((data_dir / "jats").iterdir())
    assert len(files) == 16
    without_abstract = 0
    for file in files:
        (record,) = read(file, kind=PAPER)
        paper = record.content
        assert isinstance(paper, Paper), file
        sections = paper.sections
        assert (len(sections), sum(len(s.paragraphs) for s in sections)) == counted(file), file.name
        assert paper.title
        assert paper.identifiers.keys() >= {"doi", "licence", "journal", "year"}
        without_abstract += not paper.abstract
        assert not any("[]" in p or "\ue000" in p or "  " in p for s in sections for p in s.paragraphs)
    assert without_abstract == 2  # two have a teaser for the table of contents only
