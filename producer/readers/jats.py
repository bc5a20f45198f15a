"""Journal articles as JATS or NLM XML (`.xml`, `.nxml`), with or without a namespace.

All sections and paragraphs of the body are kept in reading order; a nested section's title is its path,
`Methods > Statistics`. The first abstract without a type stands for the article (others are lay summaries, teasers
or graphics). Nothing outside the file is ever read, and a file that declares entities is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from producer.readers.jats_text import collapse, local_name, running_text
from producer.validate import check_paper, reject
from schemas.errors import RowError
from schemas.items import Paper, Rejected, Section

if TYPE_CHECKING:
    from lxml.etree import _Element

_APART = {"title", "label", "sec-meta", "glossary", "notes"}
_TEASERS = {"graphical", "toc", "teaser", "precis", "key-points", "highlights", "web-summary"}
_HREF = "{http://www.w3.org/1999/xlink}href"
_YEAR = re.compile(r"\d{4}")
_LICENCE_LENGTH = 500


def parse_articles(data: bytes, limit: int) -> Iterator[Paper | Rejected]:
    """The articles of one file: one as a rule, several where the root element is a set of them.

    `limit` bounds each paper's characters. A file that cannot be parsed gives one rejection.
    """
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError, LookupError) as fault:
        yield reject(RowError.MALFORMED_XML, str(fault), _beginning(data))
        return
    declared: Any = root.getroottree().docinfo.internalDTD  # its entities are missing from lxml's stubs
    if declared is not None and next(declared.iterentities(), None) is not None:
        yield reject(RowError.MALFORMED_XML, "the file declares entities of its own", _beginning(data))
        return
    articles = [root] if local_name(root) == "article" else root.findall(".//{*}article")
    if not articles:
        yield reject(RowError.MALFORMED_XML, f"no <article>, the root is <{local_name(root)}>", _beginning(data))
    for article in articles:
        yield check_paper(_article(article), limit)


def _beginning(data: bytes) -> str:
    return data[:1000].decode("utf-8", "replace")


def _article(article: _Element) -> Paper:
    meta = article.find("{*}front/{*}article-meta")
    body = article.find("{*}body")
    sections = () if body is None else tuple(_sections(body, ()))
    if meta is None:
        return Paper("", sections)
    return Paper(_title(meta), sections, _abstract(meta), _identifiers(article, meta))


def _title(meta: _Element) -> str:
    parts = (meta.find(f"{{*}}title-group/{{*}}{name}") for name in ("article-title", "subtitle"))
    return ": ".join(text for part in parts if part is not None and (text := " ".join(running_text(part))))


def _sections(parent: _Element, path: tuple[str, ...]) -> Iterator[Section]:
    """The sections below an element, depth first, with its own paragraphs in order among them.

    A box floats: its sections come after the paragraphs that it stands between, rather than dividing them.
    """
    own: list[str] = []
    boxes: list[_Element] = []
    for child in parent:
        name = local_name(child)
        if name == "sec":
            yield from _passage(own, boxes, path)
            own, boxes = [], []
            yield from _sections(child, _below(path, child))
        elif name == "boxed-text" and child.find("{*}sec") is not None:
            boxes.append(child)
        elif name not in _APART:
            own += running_text(child)
    yield from _passage(own, boxes, path)


def _passage(paragraphs: list[str], boxes: list[_Element], path: tuple[str, ...]) -> Iterator[Section]:
    if paragraphs:
        yield Section(" > ".join(path), tuple(paragraphs))
    for box in boxes:
        yield from _sections(box, _below(path, box))


def _below(path: tuple[str, ...], section: _Element) -> tuple[str, ...]:
    title = section.find("{*}title")
    heading = "" if title is None else " ".join(running_text(title))
    return (*path, heading) if heading else path


def _abstract(meta: _Element) -> str:
    """The abstract's paragraphs, one a line; a structured abstract's first paragraphs carry their section's title."""
    found = meta.findall("{*}abstract")
    chosen = next((part for part in found if part.get("abstract-type") is None), None)
    if chosen is None:
        chosen = next((part for part in found if part.get("abstract-type") not in _TEASERS), None)
    if chosen is None:
        return ""
    paragraphs = []
    for section in _sections(chosen, ()):
        first, *others = section.paragraphs
        paragraphs += [f"{section.title.rstrip(':')}: {first}" if section.title else first, *others]
    return "\n".join(paragraphs)


def _identifiers(article: _Element, meta: _Element) -> dict[str, str]:
    """What names the article: doi, pmid, pmcid, licence, journal and the earliest year of publication."""
    ids = {part.get("pub-id-type"): collapse(part) for part in meta.findall("{*}article-id")}
    pmcid = ids.get("pmcid") or ids.get("pmc") or ""
    years = [
        text[0] for part in meta.findall("{*}pub-date/{*}year") if (text := _YEAR.search(collapse(part))) is not None
    ]
    journal = article.find("{*}front/{*}journal-meta//{*}journal-title")
    found = {
        "doi": ids.get("doi", ""),
        "pmid": ids.get("pmid", ""),
        "pmcid": f"PMC{pmcid}" if pmcid.isdigit() else pmcid,
        "licence": _licence(meta),
        "journal": "" if journal is None else collapse(journal),
        "year": min(years, default=""),
    }
    return {name: value for name, value in found.items() if value}


def _licence(meta: _Element) -> str:
    """The licence's address where the file gives one, else the beginning of its text."""
    licence = meta.find(".//{*}license")
    if licence is None:
        return ""
    href = licence.get(_HREF)
    if href:
        return href
    reference = licence.find(".//{*}license_ref")
    if reference is None:
        reference = licence
    for link in licence.iter("{*}ext-link"):
        if "creativecommons.org" in (address := link.get(_HREF) or ""):
            return address
    return collapse(reference)[:_LICENCE_LENGTH]
