"""What a written summary needs no device for: a paper cut into windows of tokens, and what in it backs the summary.

Where a paper takes several windows, what was written of them is read like a paper of its own, pass after pass, until
it is no longer than one window's summary may be.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from tokenizers import Tokenizer

from schemas import sentences
from schemas.errors import RowError, UsageError
from schemas.items import Item, Paper, Rejected
from schemas.outcomes import Failed, Outcome, Summary, SummarySentence
from workers import papers, sampling
from workers.engines.contract import Prepared
from workers.engines.padding import Ids
from workers.engines.parameters import checked
from workers.papers import Place
from workers.support import Evidence

# Models that write in lower case alone set a space before what ends a sentence; nothing else would tell it there.
_SPACED_END = re.compile(r"(?<= [.!?]) ")


class Seq2SeqParameters(BaseModel):
    """A job's parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prefix: str = Field(default="summarize: ", max_length=2000, description="What each window begins with.")
    max_new_tokens: int = Field(default=128, ge=1, le=4096, description="A window's summary is cut here.")
    min_new_tokens: int = Field(default=0, ge=0, description="Before so many tokens a summary does not end.")
    num_beams: int = Field(default=1, ge=1, le=16, description="More than 1: beam search, in fixed batches.")
    temperature: float = Field(default=0.0, ge=0, description="0: always the most probable token; else drawn.")
    top_k: int = Field(default=0, ge=0, description="Draw from the k most probable tokens only; 0: from all.")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="Draw from the fewest tokens that reach this probability."
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="The job's seed; each row derives its own.")
    max_windows: int = Field(default=16, ge=1, description="Of a longer paper so many windows are read, evenly spaced.")
    passes: int = Field(
        default=4,
        ge=1,
        le=16,
        description="What was written of several windows is summarized again while it has more than max_new_tokens "
        "tokens, with the first reading in so many passes at most; 1: joined as it is.",
    )
    include_abstract: bool = Field(default=False, description="Also read the abstract.")

    @field_validator("min_new_tokens")
    @classmethod
    def _within_the_most(cls, value: int, others: ValidationInfo) -> int:
        if value > others.data.get("max_new_tokens", value):
            raise ValueError("more than max_new_tokens")
        return value

    @field_validator("temperature")
    @classmethod
    def _not_with_beams(cls, value: float, others: ValidationInfo) -> float:
        if value > 0 and others.data.get("num_beams", 1) > 1:
            raise ValueError("beam search draws nothing: leave temperature at 0, or num_beams at 1")
        return value


@dataclass(frozen=True, slots=True)
class Manuscript:
    """A paper as the model reads it in one pass: its windows' token ids, special tokens included, a seed for each.

    `source` are the paper's own sentences, and `coverage` is the share of them that the first pass's windows hold; one
    that is cut counts in part. `number` counts passes from 1; those before have read `seen` tokens in `begun` windows,
    and those to come may read and write `spare`.
    """

    windows: tuple[Ids, ...]
    seeds: tuple[int, ...]
    coverage: float
    asked: Seq2SeqParameters
    source: tuple[Place, ...]
    number: int = 1
    begun: int = 0
    seen: int = 0
    spare: int = 0

    @property
    def tokens(self) -> int:
        """The tokens that are read in this pass and those before."""
        return self.seen + sum(map(len, self.windows))


@dataclass(frozen=True, slots=True)
class Written(Summary):
    """A summary still to be finished: what was written of each window of the last pass, and the paper's sentences."""

    parts: tuple[str, ...] = ()
    source: tuple[Place, ...] = ()


class WindowWork:
    """The engine's `CpuWork`. A window may have `window` tokens, the special ones and the job's prefix included.

    Of a window at most `written` tokens can be written, the start token included.
    """

    heavy = True

    def __init__(self, tokenizer: Tokenizer, window: int, written: float = math.inf) -> None:
        self._window = window
        self._written = written
        # The bare tokenizer, set up once: transformers' own calls change its state, which threads must not share.
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def prepare(self, item: Item, parameters: dict[str, Any]) -> Sequence[Prepared | Failed]:
        """Cut a paper into windows: one unit, counted as all tokens that may be read and written, in all passes.

        A sentence is never divided unless it is longer than a window; then its end is not read.

        Raises:
            UsageError: a parameter is unknown or out of its range.
        """
        asked = checked(Seq2SeqParameters, parameters)
        if asked.max_new_tokens > self._written - 1:
            raise UsageError(f"parameter 'max_new_tokens': the model writes {self._written - 1} at most")
        paper = item.content
        if isinstance(paper, Rejected):
            return [Failed(item.row, paper.code, paper.message)]
        if not isinstance(paper, Paper):
            return [Failed(item.row, RowError.UNSUPPORTED, "this model summarizes papers")]
        places = papers.body(paper, asked.include_abstract)
        if not places:
            return [Failed(item.row, RowError.EMPTY_TEXT, "no sentence outside references and the like")]
        overhead = len(self._tokenizer.encode(asked.prefix).ids)
        room = self._window - overhead
        if room < 1:
            message = f"the prefix takes {overhead} of the {self._window} tokens that the model reads"
            return [Failed(item.row, RowError.TOO_LONG, message)]
        parts = self._windows(places, self._lengths(places), room, asked.prefix)
        kept = [parts[at * len(parts) // asked.max_windows] for at in range(asked.max_windows)]
        kept = kept if len(parts) > asked.max_windows else parts
        manuscript = Manuscript(
            windows=tuple(ids for ids, _ in kept),
            seeds=tuple(sampling.row_seed(asked.seed, item.row, at) for at in range(len(kept))),
            coverage=sum(read for _, read in kept) / len(places),
            asked=asked,
            source=tuple(places),
            spare=_spare(len(kept), asked, room, overhead),
        )
        most = manuscript.tokens + len(kept) * asked.max_new_tokens + manuscript.spare
        return [Prepared(item.row, most, manuscript)]

    def again(self, row: int, read: Manuscript, parts: Sequence[str]) -> Manuscript | None:
        """What was written of each window, as the source of the next pass; None if that was the last one.

        It was, if there was one window, if all that was written has at most `max_new_tokens` tokens, after so many
        passes as the job asks for, and where the next would have as many windows again. A pass that would read more
        than the row was counted with is not begun either; that takes a text of which the tokenizer makes more tokens
        than the model wrote.
        """
        asked = read.asked
        if len(read.windows) == 1 or read.number == asked.passes:
            return None
        places = [Place(text, 0, at) for at, text in enumerate(text for part in parts for text in _sentences(part))]
        lengths = self._lengths(places)
        if sum(lengths) <= asked.max_new_tokens:
            return None
        room = self._window - len(self._tokenizer.encode(asked.prefix).ids)
        windows = tuple(ids for ids, _ in self._windows(places, lengths, room, asked.prefix))
        spare = read.spare - sum(map(len, windows)) - len(windows) * asked.max_new_tokens
        if len(windows) >= len(read.windows) or spare < 0:
            return None
        begun = read.begun + len(read.windows)
        seeds = tuple(sampling.row_seed(asked.seed, row, begun + at) for at in range(len(windows)))
        return replace(
            read, windows=windows, seeds=seeds, number=read.number + 1, begun=begun, seen=read.tokens, spare=spare
        )

    def finish(self, outcome: Outcome) -> Outcome:
        """Say of each sentence of the summary what in the paper backs it, and how far."""
        if not isinstance(outcome, Written):
            return outcome
        evidence = Evidence(place.text for place in outcome.source)
        found = []
        for text in (text for part in outcome.parts for text in _sentences(part)):
            backing = evidence.backing(text)
            place = outcome.source[backing.place]
            found.append(SummarySentence(text, place.section, place.sentence, backing.score))
        support = min((sentence.score for sentence in found), default=None)
        return Summary(outcome.row, outcome.text, tuple(found), outcome.coverage, outcome.tokens, support)

    def text(self, ids: Sequence[int]) -> str:
        """What the model wrote, without special tokens."""
        return " ".join(self._tokenizer.decode(list(ids), skip_special_tokens=True).split())

    def _lengths(self, places: Sequence[Place]) -> list[int]:
        """Each sentence's tokens, if it stood alone."""
        encodings = self._tokenizer.encode_batch([place.text for place in places], add_special_tokens=False)
        return [len(encoding.ids) for encoding in encodings]

    def _windows(
        self, places: Sequence[Place], lengths: Sequence[int], room: int, prefix: str
    ) -> list[tuple[Ids, float]]:
        """Sentences of these lengths in windows: each one's token ids, and how many sentences it holds."""
        return [part for cut in _cut(places, lengths, room) for part in self._fit(cut, prefix)]

    def _fit(self, texts: Sequence[str], prefix: str) -> Iterator[tuple[Ids, float]]:
        """Sentences as one window, or as more where together they make more tokens than each for itself.

        Gives each window's token ids, and how many sentences it holds; a sentence that is cut is a part of one.
        """
        ids = self._tokenizer.encode(prefix + " ".join(texts)).ids
        if len(ids) <= self._window:
            yield tuple(ids), len(texts)
        elif len(texts) > 1:
            middle = len(texts) // 2
            yield from self._fit(texts[:middle], prefix)
            yield from self._fit(texts[middle:], prefix)
        else:
            closing = self._tokenizer.num_special_tokens_to_add(is_pair=False)
            read = self._tokenizer.encode(prefix + texts[0])
            read.truncate(self._window)
            yield (*read.ids[: self._window - closing], *ids[len(ids) - closing :]), self._window / len(ids)


def _cut(places: Sequence[Place], lengths: Sequence[int], room: int) -> Iterator[list[str]]:
    """Sentences in runs of at most `room` tokens.

    A section begins a run of its own if it does not fit behind what came before, unless that run is not half full.
    """
    sections: dict[int, int] = {}  # tokens of each
    for place, length in zip(places, lengths, strict=True):
        sections[place.section] = sections.get(place.section, 0) + length
    run: list[str] = []
    filled, section = 0, places[0].section
    for place, length in zip(places, lengths, strict=True):
        begins = place.section != section
        crowded = filled + (sections[place.section] if begins else 0) > room and 2 * filled >= room
        if run and (filled + length > room or (begins and crowded)):
            yield run
            run, filled = [], 0
        run.append(place.text)
        filled += length
        section = place.section
    yield run


def _spare(windows: int, asked: Seq2SeqParameters, room: int, overhead: int) -> int:
    """The most tokens that the passes after the first read and write, if all is written that may be."""
    most = asked.max_new_tokens
    total = 0
    for _ in range(asked.passes - 1):
        if windows == 1:
            break
        total += windows * most
        windows = min(windows - 1, math.ceil(windows / max(1, room // most)))
        total += windows * (overhead + most)
    return total


def _sentences(part: str) -> list[str]:
    """The sentences of what was written of a window, without those that hold neither letter nor digit."""
    found = [text for piece in _SPACED_END.split(part) for text in sentences.split(piece)]
    return [text for text in found if any(letter.isalnum() for letter in text)]
