"""A paper as a list of sentences, each with its place; sections that are no part of the argument are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from schemas import sentences
from schemas.items import Paper

ABSTRACT = -1  # stands for the abstract where a section's number is expected

_LETTER = re.compile(r"[^\W\d_]")
_NUMBER = re.compile(r"\A(?:(?:\d+|[ivx]+|[a-z])(?:\.\d+)*[.):]\s*|\d+(?:\.\d+)*\s+)", re.IGNORECASE)
_GOODS = r"(?:(?:supporting\ )?(?:data|code|software|materials?)(?:\ (?:and|&)\ (?:data|code|software|materials?))?)"
_ASIDE = rf"""(?:
      references?(?:\ cited|\ list)? | bibliography | (?:literature|works)\ cited | further\ reading
    | acknowledge?ments?
    | (?:sources?\ of\ )?(?:funding|financial\ (?:support|disclosure))(?:\ (?:sources?|statement|information))?
    | (?:declarations?|statements?|disclosures?)(?:\ of)?(?:\ (?:competing|conflicting|financial))?(?:\ interests?)?
    | (?:potential\ )?(?:competing|conflicts?(?:\ of)?|conflicting)(?:\ financial)?\ interests?
      (?:\ (?:statement|disclosure|declaration))?
    | (?:authors?|author's|authors')\ (?:contributions?|information|details|affiliations?)(?:\ statement)?
    | contributors | credit\ (?:author(?:ship)?\ )?(?:contribution\ )?statement | orcid(?:\ ids?)?
    | (?:electronic\ )?(?:supplementa(?:ry|l)|supporting|additional)
      \ (?:materials?|information|data|files?|figures?|tables?)
    | supplement(?:s|ary)? | pre-?publication\ history | publisher'?s\ note | copyright(?:\ statement)? | licen[cs]e
    | {_GOODS}\ (?:availability|accessibility)(?:\ statement)? | availability(?:\ of\ {_GOODS})?
    | (?:list\ of\ )?abbreviations(?:\ used)? | key\ ?words | footnotes? | endnotes?
    | ethic(?:s|al)(?:\ (?:approval|statement|declarations?|considerations?|committee\ approval))?
      (?:\ (?:and|&)\ consent(?:\ to\ participate)?)?
    | (?:informed\ )?consent(?:\ (?:for|to)\ (?:publication|participate))? | peer\ review(?:\ information)?
)"""
# Joined titles count when each part does: "Acknowledgements and Funding" is left out, "Materials and Methods" stays.
_ASIDES = re.compile(rf"{_ASIDE}(?:(?:,|\ and|\ &|/|;)+\ *{_ASIDE})*", re.VERBOSE)
_ABSTRACTS = re.compile(r"(?:structured |graphical )?abstract|(?:author|lay|plain language) summary")


@dataclass(frozen=True, slots=True)
class Place:
    """A sentence of a paper. `section` counts from 0 in `paper.sections`, or is `ABSTRACT`; `sentence` from 0 there."""

    text: str
    section: int
    sentence: int


def body(paper: Paper, include_abstract: bool = False) -> list[Place]:
    """The paper's sentences in reading order, without those that hold no letter.

    Sections such as references or acknowledgements are left out by their title, and so is a section that repeats the
    abstract. The abstract comes first when it is asked for, and when the paper has nothing else.
    """
    found = list(_sentences(paper, include_abstract))
    return found if found or include_abstract else list(_sentences(paper, include_abstract=True))


def is_aside(title: str) -> bool:
    """Whether a section of that title stands outside the paper's argument."""
    return _ASIDES.fullmatch(_plain(title)) is not None


def _sentences(paper: Paper, include_abstract: bool) -> Iterator[Place]:
    if include_abstract:
        yield from _places(ABSTRACT, (paper.abstract,))
    for number, section in enumerate(paper.sections):
        repeats = _ABSTRACTS.fullmatch(_plain(section.title)) is not None
        if not is_aside(section.title) and (include_abstract or not repeats):
            yield from _places(number, section.paragraphs)


def _places(section: int, paragraphs: tuple[str, ...]) -> Iterator[Place]:
    texts = (text for paragraph in paragraphs for text in sentences.split(paragraph))
    for number, text in enumerate(texts):
        if _LETTER.search(text):
            yield Place(" ".join(text.split()), section, number)


def _plain(title: str) -> str:
    return _NUMBER.sub("", " ".join(title.replace("’", "'").split())).strip(" .:").lower()
