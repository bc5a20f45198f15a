"""Summaries of t5-small's shape through the batcher, beside `generate` on length-sorted fixed batches, and CTranslate2.

Random weights. As many tokens go in as real abstracts have, and a third of another abstract's come out: a row's output
ends at its drawn length, whatever is written, on both sides. Each of the
others gets the batch size that is fastest for it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from json import dumps, loads
from pathlib import Path
from random import Random

import torch

from schemas.registry import load_registry
from tests.benchmarks.figures import Figure, alternate
from tests.benchmarks.line_rival import line_rival
from tests.seq2seq_checkpoint import make_t5_checkpoint, seq2seq_entry
from workers.batcher import Batcher
from workers.engines.contract import Engine, Prepared
from workers.engines.load import load_engine
from workers.engines.padding import Ids, pad
from workers.engines.pretrained import read_tokenizer
from workers.engines.seq2seq_cpu import Manuscript, Seq2SeqParameters
from workers.weights import locate

ROWS = 200
SIZES = (8, 16, 32)  # `generate` is tried with these
TRIED = 48  # on so many rows
T5_SMALL = {
    "vocab_size": 32128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_heads": 8,
}
WINDOW = 512
SHARE = 3  # a summary is so many times shorter than an abstract
NO_END = 32127  # no text has this token, so nothing ends before its drawn length


def figures() -> list[Figure]:
    """All sides in turn, each with its model loaded."""
    work = lengths(ROWS)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = make_t5_checkpoint(Path(folder), varied=False, eos_token_id=NO_END, **T5_SMALL)
        engine = load_engine(seq2seq_entry(checkpoint), "cpu")
        theirs = _Generate(checkpoint)
        best = min(SIZES, key=lambda size: theirs.run(work[:TRIED], size))
        drawn = Path(folder) / "work.json"
        drawn.write_text(dumps(work))
        with line_rival("ctranslate2_rival", checkpoint, drawn) as far:
            seconds = alternate(
                {
                    "ours": lambda: _through_the_batcher(engine, work),
                    "theirs": lambda: theirs.run(work, best),
                    "far": far,
                },
                repeats=3,
            )
    rates = {way: ROWS / taken for way, taken in seconds.items()}
    return [
        Figure("t5", f"generate, best size ({best})", rates["ours"], rates["theirs"], "papers/s", 1.5),
        Figure("t5", "CTranslate2, int8 (far reference)", rates["ours"], rates["far"], "papers/s", None),
    ]


def lengths(count: int) -> list[tuple[Ids, int]]:
    """Random token ids of real abstracts' lengths, each with the number of tokens to write."""
    tokenizer = read_tokenizer(locate(load_registry().get("minilm-extractive").weights))
    files = sorted(Path(str(metadata.distribution("aclsum").locate_file("aclsum/dataset/paper_jsons"))).glob("*.json"))
    abstracts = [loads(file.read_text("utf-8"))["abstract"] for file in files]
    known = [min(WINDOW, len(tokenizer.encode(text))) for text in abstracts[:count]]
    draw = Random(0)
    written = [size // SHARE for size in draw.sample(known, len(known))]
    return [(tuple(draw.choices(range(3, 32000), k=size)), out) for size, out in zip(known, written, strict=True)]


def _through_the_batcher(engine: Engine, work: Sequence[tuple[Ids, int]]) -> float:
    units = []
    for row, (ids, out) in enumerate(work):
        asked = Seq2SeqParameters(max_new_tokens=out, min_new_tokens=out)
        units.append(Prepared(row, len(ids) + out, Manuscript((ids,), (0,), 1.0, asked, source=())))
    batcher = Batcher(engine)
    batcher.start()
    began = time.monotonic()
    outcomes = batcher.submit(units, job=1).result(600)
    taken = time.monotonic() - began
    batcher.stop(drain=1)
    assert len(outcomes) == len(work)
    return taken


class _Generate:
    """`transformers` itself: sorted by length of source, padded, and a batch runs until its last row has its length."""

    def __init__(self, checkpoint: Path) -> None:
        from transformers import T5ForConditionalGeneration

        self._model = T5ForConditionalGeneration.from_pretrained(checkpoint).eval()
        self._model.generation_config.eos_token_id = None

    def run(self, work: Sequence[tuple[Ids, int]], size: int) -> float:
        began = time.monotonic()
        ordered = sorted(work, key=lambda row: len(row[0]))
        for start in range(0, len(ordered), size):
            batch = ordered[start : start + size]
            ids, mask = pad([source for source, _ in batch], 0, "cpu")
            with torch.inference_mode():
                self._model.generate(
                    input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=max(out for _, out in batch)
                )
        return time.monotonic() - began
