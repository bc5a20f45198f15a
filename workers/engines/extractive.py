"""Extractive summaries: the sentences of a paper that lie closest to its centre, unlike each other, word for word.

Sentences of all papers in a micro-batch are encoded together, sorted by length. What shares a batch moves an
embedding by about 1e-7, which could swap two sentences of nearly equal worth; so a choice with a margin below
`FIRM` is made again on embeddings of that paper alone, which are the same whatever the company.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ModelUnavailable
from schemas.outcomes import Summary, SummarySentence
from schemas.registry import ModelEntry
from workers import selection
from workers.engines.contract import Prepared
from workers.engines.extractive_cpu import Draft, SentenceWork
from workers.engines.padding import Ids, pad, passes
from workers.engines.pretrained import read_model, read_tokenizer
from workers.papers import Place
from workers.weights import locate

WINDOW = 256  # tokens of a sentence that are read; the published encoder was trained on no more
FIRM = 1e-5  # an order of magnitude above the noise between batches in single precision
WORDS = (8, 80)  # shorter ones are headings and fragments, longer ones run-on tables
# Padded tokens of one forward pass: on a CPU more no longer pays and leaves the cache; a GPU wants to be filled.
PASS_TOKENS = {"cpu": 2048, "cuda": 65536}


class ExtractiveEngine:
    """A sentence encoder on one device. See the module's docstring; the contract says who calls what."""

    pads = False  # the sentences of all papers are encoded together, by their own lengths

    def __init__(self, entry: ModelEntry, folder: Path, device: str) -> None:
        if entry.precision != "fp32":
            raise ModelUnavailable(
                f"model '{entry.name}': in {entry.precision} a summary would depend on what shares its batch; use fp32"
            )
        self.entry = entry
        self._device = device
        self._model = read_model("AutoModel", folder, dtype="float32", device=device, unused=("pooler.",))
        tokenizer = read_tokenizer(folder)
        self._pad = tokenizer.pad_token_id or 0
        window = min(WINDOW, self._model.config.max_position_embeddings)
        self.cpu = SentenceWork(entry, tokenizer.backend_tokenizer, window)
        self._pass_tokens = PASS_TOKENS["cpu" if device == "cpu" else "cuda"]

    def run(self, rows: Sequence[Prepared]) -> Sequence[Summary]:
        """Summarize papers: one summary each, in order. Its score is the cosine to the (title-drawn) centroid."""
        shared = self._embed(chain.from_iterable(_texts(row.data) for row in rows))
        return [self._summarize(row, shared, alone=len(rows) == 1) for row in rows]

    def _summarize(self, row: Prepared, embedded: dict[Ids, NDArray[np.float32]], alone: bool) -> Summary:
        draft: Draft = row.data
        firsts: dict[Ids, int] = {}  # a sentence said twice counts twice for the centre, but is chosen once
        counts: dict[Ids, int] = {}
        for at, tokens in enumerate(draft.ids):
            firsts.setdefault(tokens, at)
            counts[tokens] = counts.get(tokens, 0) + 1
        vectors = np.stack([embedded[tokens] for tokens in firsts])
        title = embedded[draft.title] * draft.parameters.title_weight if draft.title is not None else None
        places = [draft.places[at] for at in firsts.values()]
        choice = selection.choose(
            vectors,
            selection.guide(vectors, list(counts.values()), title),
            _eligible(places, draft.parameters.sentences),
            draft.parameters.sentences,
            draft.parameters.relevance,
        )
        if choice.margin < FIRM and not alone:
            return self._summarize(row, self._embed(_texts(draft)), alone=True)
        picked = tuple(
            SummarySentence(places[at].text, places[at].section, places[at].sentence, float(choice.scores[at]))
            for at in choice.chosen
        )
        text = " ".join(sentence.text for sentence in picked)
        return Summary(row.row, text, picked, draft.coverage, row.tokens, support=1.0)

    def _embed(self, texts: Any) -> dict[Ids, NDArray[np.float32]]:
        """The unit vector of each distinct text: the mean over its tokens' last hidden states."""
        import torch

        ordered = sorted(dict.fromkeys(texts), key=len)
        with torch.inference_mode():
            parts = [self._forward(part) for part in passes(ordered, self._pass_tokens)]
            vectors = torch.cat(parts).cpu().numpy()
        return dict(zip(ordered, vectors, strict=True))

    def _forward(self, texts: Sequence[Ids]) -> Any:
        import torch

        ids, mask = pad(texts, self._pad, self._device)
        hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return torch.nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=-1)


def load(entry: ModelEntry, device: str) -> ExtractiveEngine:
    """Load a sentence encoder.

    Raises:
        ModelUnavailable: the weights are missing, changed or refused, or the entry asks for less than fp32.
    """
    return ExtractiveEngine(entry, locate(entry.weights), device)


def _texts(draft: Draft) -> chain[Ids]:
    return chain(draft.ids, () if draft.title is None else (draft.title,))


def _eligible(places: Sequence[Place], count: int) -> list[int]:
    """Positions of the sentences of a summary's length; of all of them where those are too few."""
    shortest, longest = WORDS
    fit = [at for at, place in enumerate(places) if shortest <= len(place.text.split()) <= longest]
    return fit if len(fit) >= count else list(range(len(places)))
