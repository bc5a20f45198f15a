"""The running text of JATS elements: what a reader would read aloud, without the apparatus around it.

Left out: figures, tables, formulas, footnotes, captions, reference lists, and citations by number (`[1]–[3]`), which
mean nothing without the list. Kept: all other text in place, emphasis without its mark-up, named citations
(`Smith et al., 2003`), references to figures. A number in superscript after a digit gets a caret: 10⁵ is not 105.
"""

from __future__ import annotations

import html.entities
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml.etree import _Element

_LEFT_OUT = {
    "alternatives", "array", "caption", "chem-struct-wrap", "disp-formula", "disp-formula-group", "fig", "fig-group",
    "fn", "fn-group", "graphic", "inline-graphic", "label", "math", "media", "object-id", "ref-list",
    "supplementary-material", "table", "table-wrap", "table-wrap-group", "tex-math", "title",
}  # fmt: skip
_BLOCKS = {
    "boxed-text", "def", "def-item", "def-list", "disp-quote", "list", "list-item", "p", "sec", "speech", "statement",
    "term", "verse-group", "verse-line",
}  # fmt: skip
_NUMBERS = re.compile(r"[\[(]?\s*\d+[a-z]?(?:[\s,;–—-]*\d+[a-z]?)*\s*[\])]?")
_POWER = re.compile(r"[-+−–]?\d")

# A citation by number becomes this character of the private use area until its brackets can be seen.
_MARK = "\ue000"
_RUN = rf"{_MARK}(?:[\s,;–—-]*{_MARK})*"
_GROUP = rf"(?:\[\s*{_RUN}\s*\]|\(\s*{_RUN}\s*\)|{_RUN})"
_CITATIONS = re.compile(rf"\s*{_GROUP}(?:[\s,;–—-]*{_GROUP})*")


def local_name(element: _Element) -> str:
    """The element's name without its namespace; empty for what is no element, such as an entity."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def collapse(element: _Element) -> str:
    """All text below an element, white space made single."""
    return " ".join("".join(map(str, element.itertext("*"))).split())


def running_text(element: _Element) -> list[str]:
    """The paragraphs of an element; lists and quotes within a paragraph divide it, in reading order."""
    if (name := local_name(element)) in _LEFT_OUT and name != "title":
        return []
    gathered = _Gathered()
    gathered.take(element)
    gathered.end_paragraph()
    return gathered.paragraphs


class _Gathered:
    """Paragraphs as they are gathered from a tree."""

    def __init__(self) -> None:
        self.paragraphs: list[str] = []
        self._pieces: list[str] = []

    def take(self, element: _Element) -> None:
        """Add what is inside an element, without its tail."""
        self._add(element.text)
        for child in element:
            name = local_name(child)
            if not name:
                self._add(_entity(child))
            elif name in _BLOCKS:
                self.end_paragraph()
                self.take(child)
                self.end_paragraph()
            elif name == "xref" and child.get("ref-type") == "bibr" and _NUMBERS.fullmatch(collapse(child)):
                self._pieces.append(_MARK)
            elif name == "break":
                self._pieces.append(" ")
            elif name not in _LEFT_OUT:
                if name == "sup" and self._pieces and self._pieces[-1][-1].isdigit() and _is_power(child):
                    self._pieces.append("^")
                self.take(child)
            self._add(child.tail)

    def end_paragraph(self) -> None:
        """Close the paragraph that is being gathered, if it has text."""
        text = _CITATIONS.sub("", " ".join("".join(self._pieces).split())).strip()
        self._pieces.clear()
        if text:
            self.paragraphs.append(text)

    def _add(self, text: str | None) -> None:
        if text and (clean := text.replace(_MARK, "")):
            self._pieces.append(clean)


def _is_power(superscript: _Element) -> bool:
    """Whether a superscript is a number, rather than a citation or a word."""
    return superscript.find(".//{*}xref") is None and _POWER.match(collapse(superscript)) is not None


def _entity(node: _Element) -> str:
    """An entity that the DTD, which is not read, would define: most are HTML's too, others stay as written."""
    reference = node.text or ""
    return html.entities.html5.get(reference.removeprefix("&"), reference)
