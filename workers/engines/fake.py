"""An engine without a model, for tests of everything around engines and for measuring what the queue itself costs.

It obeys the contract of the real ones in all three tasks. A micro-batch costs longest x count x `ns_per_token`, like
a padded one on a device, and it can be told to fail.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any
from zlib import crc32

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import RowError
from schemas.items import Content, Item, Molecule, Paper, Prompt, Rejected, Task
from schemas.outcomes import Failed, Generation, Outcome, Prediction, Summary, SummarySentence
from schemas.registry import ModelEntry
from workers.engines.contract import Prepared
from workers.engines.parameters import checked

CRASH_STATUS = 86
MOLECULES = ("CCO", "c1ccccc1", "CC(=O)O", "CCN", "C1CCCCC1", "CC(C)O", "O=C1CCCN1", "c1ccncc1")  # canonical
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class FakeParameters(BaseModel):
    """A job's parameters. A text to fail on is compared with a molecule's or prompt's SMILES, or a paper's title."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ns_per_token: float = Field(default=0.0, ge=0, description="Nanoseconds a padded token.")
    poison: str | None = Field(default=None, description="A text on which the micro-batch raises RuntimeError.")
    crash: str | None = Field(default=None, description="A text on which the process ends at once, with status 86.")
    hang: str | None = Field(default=None, description="A text on which the micro-batch hangs; unset: on any.")
    hang_seconds: float = Field(default=0.0, ge=0, description="For how long it hangs.")
    samples: int = Field(default=1, ge=1, description="Molecules a prompt gets.")
    seed: int = Field(default=0, description="The job's seed, from which each sample's own is derived.")


@dataclass(slots=True)
class _Unit:
    """A row's content, the text that it may fail on, and what its job asked for."""

    content: Content
    text: str
    asked: FakeParameters
    seed: int = 0


def load(entry: ModelEntry, device: str) -> FakeEngine:
    """Make the engine; there is nothing to load, and every device will do."""
    return FakeEngine(entry)


class FakeEngine:
    """Deterministic outcomes without a model. Each depends on its row alone, and for generation on seed and sample."""

    heavy = False
    pads = True

    def __init__(self, entry: ModelEntry) -> None:
        self.entry = entry
        self.cpu = self

    def prepare(self, item: Item, parameters: dict[str, Any]) -> Sequence[Prepared | Failed]:
        """One unit an item, or `samples` for a prompt. Tokens are characters, or a paper's words.

        Raises:
            UsageError: a parameter is unknown or out of its range.
        """
        asked = checked(FakeParameters, parameters)
        found = self._check(item)
        if isinstance(found, Failed):
            return [found]
        content, text = found
        tokens = max(1, len(_words(content)) if isinstance(content, Paper) else len(text))
        if tokens > self.entry.limits.max_tokens:
            message = f"{tokens} tokens; the model takes {self.entry.limits.max_tokens}"
            return [Failed(item.row, RowError.TOO_LONG, message)]
        if not isinstance(content, Prompt):
            return [Prepared(item.row, tokens, _Unit(content, text, asked))]
        return [
            Prepared(item.row, tokens, _Unit(content, text, asked, _seed(asked.seed, item.row, sample)), sample)
            for sample in range(asked.samples)
        ]

    def run(self, rows: Sequence[Prepared]) -> Sequence[Outcome]:
        """Compute one micro-batch, at the cost and with the faults that the rows' jobs asked for."""
        asked_of = {id(row.data.asked): row.data.asked for row in rows}
        texts_of: dict[int, list[str]] = {key: [] for key in asked_of}
        for row in rows:
            texts_of[id(row.data.asked)].append(row.data.text)
        jobs = [(asked, texts_of[key]) for key, asked in asked_of.items()]
        if any(asked.crash in texts for asked, texts in jobs):
            os._exit(CRASH_STATUS)
        seconds = max(row.tokens for row in rows) * len(rows) * max(asked.ns_per_token for asked, _ in jobs) / 1e9
        seconds += max(asked.hang_seconds * (asked.hang is None or asked.hang in texts) for asked, texts in jobs)
        if seconds > 0:
            time.sleep(seconds)
        for asked, texts in jobs:
            if asked.poison in texts:
                raise RuntimeError(f"poison: {asked.poison}")
        return [self._outcome(row) for row in rows]

    def _check(self, item: Item) -> tuple[Content, str] | Failed:
        """The content and its text, when it is of the task's kind and not empty."""
        content = item.content
        match self.entry.task, content:
            case Task.PREDICT, Molecule(smiles):
                return (content, smiles) if smiles else Failed(item.row, RowError.EMPTY_SMILES, "no SMILES")
            case Task.GENERATE, Prompt(smiles):
                return content, smiles
            case Task.SUMMARIZE, Paper(title=title):
                return (content, title) if _words(content) else Failed(item.row, RowError.EMPTY_TEXT, "no text")
            case _, Rejected(code, message):
                return Failed(item.row, code, message)
        kind = self.entry.task.content.value
        return Failed(item.row, RowError.UNSUPPORTED, f"{type(content).__name__} is no {kind}")

    def _outcome(self, row: Prepared) -> Outcome:
        unit: _Unit = row.data
        if isinstance(unit.content, Molecule):
            return self._predict(row.row, unit.text)
        if isinstance(unit.content, Paper):
            return _summarize(row.row, unit.content)
        return _generate(row, unit.seed)

    def _predict(self, row: int, smiles: str) -> Prediction:
        """A value in [0, 1) for each endpoint, a multiple of 2^-24 so that 32 bits hold it exactly. No InChIKey."""
        values = [(crc32(smiles.encode(), place) >> 8) / 2**24 for place in range(len(self.entry.endpoints))]
        nothing = [None] * len(values)
        return Prediction(row, smiles, "", values, nothing, nothing)


def _seed(job_seed: int, row: int, sample: int) -> int:
    """A sample's own seed, 63 bits so that PostgreSQL's bigint holds it."""
    digest = blake2b(f"{job_seed}/{row}/{sample}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def _words(paper: Paper) -> list[str]:
    return [word for section in paper.sections for paragraph in section.paragraphs for word in paragraph.split()]


def _summarize(row: int, paper: Paper) -> Summary:
    """The first sentence, the only one that this engine looks at."""
    sentences = [
        (sentence, place)
        for place, section in enumerate(paper.sections)
        for paragraph in section.paragraphs
        for sentence in SENTENCE_END.split(paragraph.strip())
        if sentence
    ]
    text, section = sentences[0]
    chosen = SummarySentence(text, section, 0, 1.0)
    return Summary(row, text, (chosen,), 1 / len(sentences), len(text.split()), support=1.0)


def _generate(row: Prepared, seed: int) -> Generation:
    """A molecule picked by the seed; all are as likely. Properties stay None: nothing computes them here."""
    smiles = MOLECULES[seed % len(MOLECULES)]
    nll = 2.0794415416798357  # ln 8
    return Generation(row.row, row.sample, smiles, True, nll, len(smiles), seed, canonical=smiles)
