"""The part of an extractive summary that needs no device: a paper cut into sentences, and their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer

from schemas.errors import RowError
from schemas.items import Item, Paper, Rejected
from schemas.outcomes import Failed
from schemas.registry import ModelEntry
from workers import papers
from workers.engines.contract import Prepared
from workers.engines.padding import Ids
from workers.engines.parameters import checked
from workers.papers import Place


class ExtractiveParameters(BaseModel):
    """A job's parameters. The defaults were chosen on ACLSum's training and validation papers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sentences: int = Field(default=3, ge=1, le=100, description="Sentences of a summary.")
    include_abstract: bool = Field(default=False, description="Also pick from the abstract (section -1).")
    relevance: float = Field(default=0.8, ge=0, le=1, description="1: closest to the centre; less: unlike each other.")
    title_weight: float = Field(default=0.5, ge=0, description="How far the title draws the centre towards it.")


@dataclass(frozen=True, slots=True)
class Draft:
    """A paper cut and tokenized: its sentences, their token ids, the title's (None: no pull), and what was asked."""

    places: tuple[Place, ...]
    ids: tuple[Ids, ...]
    title: Ids | None
    coverage: float
    parameters: ExtractiveParameters


class SentenceWork:
    """The engine's `CpuWork`. Of each sentence `window` tokens are read."""

    heavy = True

    def __init__(self, entry: ModelEntry, tokenizer: Tokenizer, window: int) -> None:
        self._max_tokens = entry.limits.max_tokens
        # The bare tokenizer, set up once: transformers' own calls change its state, which threads must not share.
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(window)

    def prepare(self, item: Item, parameters: dict[str, Any]) -> Sequence[Prepared | Failed]:
        """Cut a paper into sentences and tokenize them: one unit, whose tokens are those of all its sentences.

        Of a paper with more than the model's `max_tokens`, evenly spaced sentences are read.

        Raises:
            UsageError: a parameter is unknown or out of its range.
        """
        asked = checked(ExtractiveParameters, parameters)
        paper = item.content
        if isinstance(paper, Rejected):
            return [Failed(item.row, paper.code, paper.message)]
        if not isinstance(paper, Paper):
            return [Failed(item.row, RowError.UNSUPPORTED, "this model summarizes papers")]
        places = papers.body(paper, asked.include_abstract)
        if not places:
            return [Failed(item.row, RowError.EMPTY_TEXT, "no sentence outside references and the like")]
        title = " ".join(paper.title.split()) if asked.title_weight else ""
        encodings = self._tokenizer.encode_batch([place.text for place in places] + ([title] if title else []))
        ids = [tuple(encoding.ids) for encoding in encodings]
        title_ids = ids.pop() if title else None
        kept = _within([len(tokens) for tokens in ids], self._max_tokens)
        draft = Draft(
            places=tuple(places[at] for at in kept),
            ids=tuple(ids[at] for at in kept),
            title=title_ids,
            coverage=len(kept) / len(places),
            parameters=asked,
        )
        return [Prepared(item.row, sum(map(len, draft.ids)), draft)]


def _within(lengths: Sequence[int], limit: int) -> list[int]:
    """Evenly spaced positions, as many as hold at most `limit` tokens together, and at least one."""
    kept = list(range(len(lengths)))
    count = len(kept)
    while (total := sum(lengths[at] for at in kept)) > limit and count > 1:
        count = max(1, min(count - 1, count * limit // total))
        kept = [step * len(lengths) // count for step in range(count)]
    return kept
