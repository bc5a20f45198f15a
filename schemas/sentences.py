"""Sentences of scientific English, cut by rule.

A rule of our own, because libraries that need no model download are slow or blind to this prose: they cut at
"et al.", "Fig.", "E. coli" and the like, or need ten milliseconds a page. A full stop ends a sentence unless what
stands before it is known to carry one, or what follows cannot begin a sentence.
"""

from __future__ import annotations

import re

# What may end a sentence: its mark, closing quotes and brackets, and a citation set behind the mark ("cells.[12, 13]",
# or the bare "cells.12,13" that is left of a superscript). White space must follow. The quantifiers are possessive,
# so that a page of dot leaders costs no more than a page of words.
_END = re.compile(
    r"""(?<![.!?…])(?P<mark>[.!?…]++)
        (?:\s?["'”’»)\]}]++)?
        (?:\[\d[\d\s,;–-]*+\]|(?<=[a-z)]{2}\.)\d{1,3}(?:\s?[,–-]\s?\d{1,3})*)?
        (?P<space>\s++)""",
    re.VERBOSE,
)
_BREAK = re.compile(r"(?P<space>\n\s*\n\s*|\s+(?=[•‣▪]))")  # a blank line, or the next point of a list
_WORD_BEFORE = re.compile(r"(\S+?)\s?\Z")
_OPENING = "\"'“‘«([{"
_NEARBY = 400  # characters in which a bracket's other half is looked for


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


# These carry their stop in the middle of a sentence, before a name or a number.
_LEADS_ON = _words(
    """fig figs eq eqs eqn eqns ref refs secs sect tab tabs vol vols chap pp dr drs prof mr mrs ms st vs cf viz eg ie
    e.g i.e approx ca resp suppl var subsp ssp cv pv bv nov thm lem dept univ"""
)
# These do before a number only: "no. 5", but "the answer is no. We stopped".
_NUMBERED = _words("no nos sec ch art def col app appx alg prop lt p pt par ed")
# These may close a sentence too; what follows decides.
_MAY_CLOSE = _words("al etc sp spp inc ltd co corp jr u.s u.k u.s.a e.u a.m p.m ph.d m.d b.sc m.sc b.c a.d dept gen")
# Words that open sentences, and hardly ever follow an initial or an abbreviation with a capital inside one.
_OPENERS = _words(
    """A An The This That These Those There It Its He She They We Our In On At As By For From To With Within Without
    When While Where Whereas Which Who Why How If Although Though Because Since Despite However Moreover Furthermore
    Therefore Thus Hence Here Finally First Second Third Next Then Also Additionally Another Other Both Each Some Most
    Many Several All Such Similarly Interestingly Importantly Notably Overall Recently Previously Subsequently
    Consequently Instead Conversely Nevertheless Nonetheless Indeed Specifically Further After Before During Under Upon
    Using Based Given Note One Two Three Not Only Even So But And Or Nor Yet You Your I Is Are Was Were Do Does Did Can
    Could May Might Should Would Will To Unlike Like Besides Accordingly Compared Taken Together Following"""
)
# "mRNA", "pH", "p53", "siRNA", "α-Catenin": names that begin a sentence in lower case.
_LOWER_NAME = re.compile(r"[a-zα-ω]{1,4}(?:[A-Z]|\d|-[A-Z])")
_WORD_AFTER = re.compile(r"[^\W\d_]+")
# "1. Introduction", "(a) Cells", "as follows: 2. We": the number of a list or heading opens its sentence.
_NUMBERING = re.compile(r"(?:\A|[:;]\s?)[(\[]?(?:\d{1,2}(?:\.\d{1,2})*|[A-Za-z]|[ivx]{1,4})[)\]]?\s?\Z")


def spans(text: str) -> list[tuple[int, int]]:
    """Where each sentence begins and ends in `text`, in order; only white space lies between and around them."""
    body = text.rstrip()  # so that white space is always followed by more text
    found: list[tuple[int, int]] = []
    start = len(body) - len(body.lstrip())
    candidates = sorted([*_BREAK.finditer(body), *_END.finditer(body)], key=lambda match: match.end())
    for match in candidates:
        if match.start("space") > start and _closes(body, start, match):
            found.append((start, start + len(body[start : match.start("space")].rstrip())))
            start = match.end()
    if start < len(body):
        found.append((start, len(body)))
    return found


def split(text: str) -> list[str]:
    """The sentences of `text`, in order. Together they hold every character of it that is not white space."""
    return [text[begin:end] for begin, end in spans(text)]


def _closes(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether the sentence that began at `start` ends at `match`, a break or an end mark."""
    if match.re is _BREAK:
        return True
    head = text[match.end() : match.end() + 24].lstrip(_OPENING + " ")
    if not _may_open(head) or _inside_brackets(text, start, match):
        return False
    return match["mark"] != "." or not _carries_stop(text[max(start, match.start() - 40) : match.start()], head)


def _may_open(head: str) -> bool:
    """Whether a sentence may begin with `head`."""
    if not head or head[0] in ",;:)]}.%":
        return False
    return not head[0].islower() or _LOWER_NAME.match(head) is not None


def _carries_stop(said: str, head: str) -> bool:
    """Whether the full stop between `said` and `head` belongs to its word, as in "et al." or "E. coli"."""
    before = _WORD_BEFORE.search(said)
    if before is None or _NUMBERING.search(said[-12:]):
        return True
    word = before[1].lstrip(_OPENING)
    name = word.lower()
    if name in _LEADS_ON or (name in _NUMBERED and head[0].isdigit()):
        return True
    opener = _WORD_AFTER.match(head)
    opens = opener is not None and opener.group() in _OPENERS
    return not opens and (name in _MAY_CLOSE or _is_initial(word))


def _is_initial(word: str) -> bool:
    """Whether this is a person's or a genus' initial ("J", "J.-P", "E"), which a surname or a species follows."""
    letters = word.replace(".", "").replace("-", "")
    if not letters.isalpha():
        return False
    return (len(letters) == 1 and letters != "I") or (len(letters) == 2 and "." in word)


def _inside_brackets(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether a bracket opened in this sentence is still open and closes soon: "(n = 3. Data not shown)" is one."""
    said = text[max(start, match.end() - _NEARBY) : match.end()]
    if said.count("(") <= said.count(")"):
        return False
    rest = text[match.end() : match.end() + _NEARBY]
    closing, opening = rest.find(")"), rest.find("(")
    return closing >= 0 and (opening < 0 or closing < opening)
