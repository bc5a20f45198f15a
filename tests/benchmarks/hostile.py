"""Corpora of mixed lengths with hostile rows among them: every fiftieth is one that a worker must not grow over.

The kinds take turns, so that each of them has been there before the memory that counts is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from random import Random

from producer.demo_corpora import aclsum_papers, approved_drugs
from schemas.items import Molecule, Paper

EVERY = 50  # rows, of which one is hostile

MOLECULES = (
    "C1CC",  # a ring left open
    "C" * 3000,  # a chain too long for any model
    "C(" * 400 + "C" + ")" * 400,  # branches nested deeply
    ".".join(["[Na+].[Cl-]"] * 300),  # hundreds of fragments
    "c1ccc2ccccc2c1" * 40,
    "[U]" * 200,
    "C%00C",  # nonsense of a ring number
    "CC\u00a0O",
)
PROMPTS = ("C" * 5000, "Xx", "[Zr]" * 90, "C\u00e9")
PAPERS = (
    "x" * 400_000,  # one word
    "Yes. " * 20_000,  # the same sentence again and again
    ". ; ! ? " * 5_000,  # no letter at all
    "\u0e01\u0e02 " * 30_000,
    "The rate was 3.2. " + "and so on, " * 40_000,  # a sentence without an end
)


def molecules(rows: int, to: Path) -> Path:
    """SMILES lines: drugs, each with up to nine more carbons in front."""
    draw = Random(0)
    drugs = cycle([record.content.smiles for record in approved_drugs() if isinstance(record.content, Molecule)])
    with to.open("w") as out:
        for row in range(rows):
            smiles = _hostile(MOLECULES, row) or "C" * draw.randrange(10) + next(drugs)
            out.write(f"{smiles}\tm{row}\n")
    return to


def prompts(rows: int, to: Path) -> Path:
    """Prompts as JSON lines: fragments of chains and rings, and what no tokenizer knows."""
    draw = Random(0)
    with to.open("w") as out:
        for row in range(rows):
            tame = draw.choice(("C", "C" * draw.randrange(1, 60), "c1ccccc1" * draw.randrange(1, 6), "C1CC(N"))
            out.write(json.dumps({"smiles": _hostile(PROMPTS, row) or tame, "id": f"p{row}"}) + "\n")
    return to


def papers(rows: int, to: Path) -> Path:
    """Papers as JSON lines: one to two hundred sentences of real ones, short papers more often than long ones."""
    draw = Random(0)
    sentences = list(_sentences())
    with to.open("w") as out:
        for row in range(rows):
            count = int(200 ** draw.random())
            start = draw.randrange(len(sentences) - count)
            text = _hostile(PAPERS, row) or " ".join(sentences[start : start + count])
            out.write(json.dumps({"id": f"p{row}", "title": sentences[start], "text": text}) + "\n")
    return to


def _hostile(kinds: Sequence[str], row: int) -> str | None:
    return None if row % EVERY else kinds[row // EVERY % len(kinds)]


def _sentences() -> Iterator[str]:
    for record in aclsum_papers():
        assert isinstance(record.content, Paper)
        for section in record.content.sections:
            for paragraph in section.paragraphs:
                yield from (f"{part.strip(' .')}." for part in paragraph.split(". ") if part.strip(" ."))
