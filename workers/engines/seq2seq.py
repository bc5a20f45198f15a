"""Summaries written by an encoder-decoder: any such `transformers` checkpoint, T5 and its kin decoded continuously.

A paper beyond the model's window is read in windows, and what was written of each, in their order, is read again in
the same way, as `seq2seq_cpu` has it. In single precision a summary does not depend on what shares its batch; in bf16
it may differ in its words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from schemas.errors import ModelUnavailable
from schemas.outcomes import Summary
from schemas.registry import ModelEntry
from workers.engines.contract import CpuWork, Decoding, Engine, Prepared
from workers.engines.fixed_decoding import FixedDecoding
from workers.engines.pretrained import read_model, read_tokenizer
from workers.engines.seq2seq_cpu import WindowWork
from workers.engines.writing import Writing
from workers.weights import locate

DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


class FixedEngine:
    """An encoder-decoder whose rows are decoded in fixed batches. The contract says who calls what."""

    pads = True

    def __init__(self, entry: ModelEntry, cpu: WindowWork, fixed: FixedDecoding) -> None:
        self.entry = entry
        self.cpu: CpuWork = cpu
        self._work = cpu
        self._fixed = fixed

    def run(self, rows: Sequence[Prepared]) -> Sequence[Summary]:
        """Summarize papers: one summary each, in order."""
        done: dict[int, Summary] = {}  # by the identity of their units
        running = [Writing(self._work, row) for row in rows]
        while running:
            self._fixed.decode([stream for paper in running for stream in paper.streams])
            ended = [(paper, paper.conclude()) for paper in running]
            done |= {id(paper.row): outcome for paper, outcome in ended if outcome is not None}
            running = [paper for paper, outcome in ended if outcome is None]
        return [done[id(row)] for row in rows]


class T5Engine:
    """A T5 whose rows are decoded continuously. The contract says who calls what."""

    pads = True

    def __init__(self, entry: ModelEntry, cpu: WindowWork, fixed: FixedDecoding, model: Any) -> None:
        from workers.engines.t5_network import T5Network

        self.entry = entry
        self.cpu: CpuWork = cpu
        self._work = cpu
        self._fixed = fixed
        self._network = T5Network(model)
        self._start = _start(entry, model)
        self._ends = _ends(model)

    def run(self, rows: Sequence[Prepared]) -> Sequence[Summary]:
        """Summarize papers to their ends, without others: one summary each, in order."""
        decoding = self.decode()
        decoding.admit(rows)
        done: dict[int, Any] = {}
        while len(done) < len(rows):
            done |= {id(row): outcome for row, outcome in decoding.step()}
        return [done[id(row)] for row in rows]

    def decode(self) -> Decoding:
        """An empty decoding, which papers are admitted to."""
        from workers.engines.t5_decoding import T5Decoding

        return T5Decoding(
            self._network, self._start, self._ends, self._fixed, self._work, exact=self.entry.precision == "fp32"
        )


def load(entry: ModelEntry, device: str) -> Engine:
    """Load an encoder-decoder.

    Raises:
        ModelUnavailable: the weights or the tokenizer are missing, changed or refused, or the checkpoint is no
            encoder-decoder or does not say with which tokens its texts begin, end and are filled up.
    """
    import torch

    if entry.precision not in DTYPES:
        known = " or ".join(DTYPES)
        raise ModelUnavailable(f"model '{entry.name}': seq2seq computes in {known}, not {entry.precision}")
    folder = locate(entry.weights)
    model = read_model("AutoModelForSeq2SeqLM", folder, dtype=DTYPES[entry.precision], device=device)
    model.to(getattr(torch, DTYPES[entry.precision]))  # T5 would keep a part of its weights in single precision
    tokenizer = read_tokenizer(folder)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        raise ModelUnavailable(f"{folder}: the tokenizer has more tokens than the model knows; it is another model's")
    filler = model.config.pad_token_id if model.config.pad_token_id is not None else tokenizer.pad_token_id
    ends = _ends(model)
    if filler is None or not ends:
        raise ModelUnavailable(f"model '{entry.name}' names no padding or no end token, so it cannot be decoded")
    _start(entry, model)
    cpu = WindowWork(tokenizer.backend_tokenizer, *_bounds(entry, model, tokenizer))
    fixed = FixedDecoding(model, int(filler), ends, exact=entry.precision == "fp32")
    if model.config.model_type == "t5" and _is_plain(model.generation_config):
        return T5Engine(entry, cpu, fixed, model)
    return FixedEngine(entry, cpu, fixed)


def _ends(model: Any) -> frozenset[int]:
    """Whatever `generate` takes for an end: there may be several."""
    named = model.generation_config.eos_token_id
    return frozenset(int(token) for token in (named if isinstance(named, list) else [named]) if token is not None)


def _start(entry: ModelEntry, model: Any) -> int:
    settings = model.generation_config
    begin = settings.decoder_start_token_id if settings.decoder_start_token_id is not None else settings.bos_token_id
    if begin is None:
        raise ModelUnavailable(f"model '{entry.name}' does not say with which token its decoder starts")
    return int(begin)


def _bounds(entry: ModelEntry, model: Any, tokenizer: Any) -> tuple[int, float]:
    """How many tokens are read at once, and written: T5 knows no bounds of its own."""
    reads, writes = positions(model.config)
    return int(min(entry.limits.max_tokens, tokenizer.model_max_length, reads)), writes


def positions(config: Any) -> tuple[float, float]:
    """How many tokens a model can read and write by its configuration: as many as have positions, or any number."""
    both = getattr(config, "max_position_embeddings", None) or math.inf
    reads = getattr(config, "max_encoder_position_embeddings", None) or both
    return reads, getattr(config, "max_decoder_position_embeddings", None) or both


def _is_plain(settings: Any) -> bool:
    """Whether the checkpoint asks for nothing but the most probable tokens, which is all that our own loop does."""
    return not any(
        getattr(settings, name, None) not in (None, 0, unset)
        for name, unset in (
            ("no_repeat_ngram_size", 0),
            ("encoder_no_repeat_ngram_size", 0),
            ("repetition_penalty", 1.0),
            ("encoder_repetition_penalty", 1.0),
            ("bad_words_ids", None),
            ("forced_bos_token_id", None),
            ("forced_eos_token_id", None),
            ("suppress_tokens", None),
            ("begin_suppress_tokens", None),
            ("sequence_bias", None),
            ("exponential_decay_length_penalty", None),
            ("min_length", 0),
            ("remove_invalid_values", False),
            ("renormalize_logits", False),
            ("guidance_scale", 1.0),
        )
    )
