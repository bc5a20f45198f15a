"""Molecules sampled through the batcher, beside `generate` at its best batch size and its continuous batching.

All sample from the same five million parameters at temperature 1, from nothing but the start token, at most as many
tokens. The others' rates do not depend on how many molecules are asked for, so they sample fewer than 5,000; ours
samples all of them, its slow beginning and end included.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from schemas.items import Item, Prompt, Task
from schemas.outcomes import Generation
from schemas.registry import EngineKind, Limits, ModelEntry, Weights
from tests.benchmarks.figures import Figure, alternate, in_a_thread
from tests.benchmarks.smiles_model import CONTEXT, make_smiles_model
from workers.batcher import Batcher
from workers.engines.contract import Engine
from workers.engines.load import load_engine

MOLECULES = 5000
NEW_TOKENS = 128
SIZES = (64, 128, 256, 512)  # `generate` is tried with these
TRIED = 512  # molecules for each of them
GENERATED = 1024  # by `generate`: a multiple of each size, so that no batch is a small one
CONTINUOUS = 384  # by its continuous batching
AT_ONCE, PAGE = 64, 128  # rows of a continuous batch and positions of a page; faster than 32, 128 or 256, and 32
LIMITS = Limits(batch_rows=512, batch_size=100_000, token_budget=1 << 17, max_rows=512, max_tokens=CONTEXT)
MEAN_TOKENS = (35, 45)  # as molecules have


def figures() -> list[Figure]:
    """All sides in turn, each with its model loaded."""
    lengths: dict[str, list[int]] = {"ours": [], "generate": [], "continuous": []}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = in_a_thread(lambda: make_smiles_model(Path(folder)))
        engine = load_engine(
            ModelEntry(
                name="smiles",
                task=Task.GENERATE,
                engine=EngineKind.CAUSAL,
                weights=Weights(path=checkpoint),
                limits=LIMITS,
            ),
            "cpu",
        )
        theirs = _Transformers(checkpoint)
        in_a_thread(lambda: theirs.generate(TRIED // 4, SIZES[0], []))
        best = min(SIZES, key=lambda size: in_a_thread(lambda: theirs.generate(TRIED, size, [])))
        seconds = alternate(
            {
                "ours": lambda: _through_the_batcher(engine, lengths["ours"]),
                "generate": lambda: theirs.generate(GENERATED, best, lengths["generate"]),
                "continuous": lambda: theirs.continuous(CONTINUOUS, lengths["continuous"]),
            },
            repeats=3,
        )
    _compare(lengths)
    ours = MOLECULES / seconds["ours"]
    generate, continuous = GENERATED / seconds["generate"], CONTINUOUS / seconds["continuous"]
    return [
        Figure("generation", f"generate, best size ({best})", ours, generate, "molecules/s", 2.0),
        Figure("generation", "transformers' continuous batching", ours, continuous, "molecules/s", 1.0),
    ]


def _through_the_batcher(engine: Engine, lengths: list[int]) -> float:
    asked = {"samples": MOLECULES, "max_new_tokens": NEW_TOKENS}
    units = engine.cpu.prepare(Item(0, Prompt("")), asked)
    batcher = Batcher(engine)
    batcher.start()
    began = time.monotonic()
    outcomes = batcher.submit(units, job=1).result(600)  # type: ignore[arg-type]  # none failed, as is seen below
    taken = time.monotonic() - began
    batcher.stop(drain=1)
    found = [outcome for outcome in outcomes if isinstance(outcome, Generation)]
    assert len(found) == MOLECULES
    lengths += [outcome.tokens for outcome in found]
    return taken


class _Transformers:
    """`transformers` itself, both ways. A sample's length counts its end token, as ours does."""

    def __init__(self, checkpoint: Path) -> None:
        from transformers import AutoModelForCausalLM, GenerationConfig

        self._model: Any = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
        self._asked = GenerationConfig(
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=NEW_TOKENS,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )

    def generate(self, count: int, size: int, lengths: list[int]) -> float:
        """Batches of `size`, each until its last row has ended."""
        began = time.monotonic()
        for begin in range(0, count, size):
            start = torch.ones((min(size, count - begin), 1), dtype=torch.int64)
            with torch.inference_mode():
                written = self._model.generate(
                    input_ids=start, attention_mask=torch.ones_like(start), generation_config=self._asked
                )
            ended = (written == 2).int()
            lengths += torch.where(ended.any(1), ended.argmax(1), written.shape[1] - 1).tolist()
        return time.monotonic() - began

    def continuous(self, count: int, lengths: list[int]) -> float:
        """Its own continuous batching, with room for as many rows as it takes at once."""
        from transformers import ContinuousBatchingConfig

        pages = -(-(NEW_TOKENS + 2) // PAGE)
        began = time.monotonic()
        found = self._model.generate_batch(
            [[1]] * count,
            generation_config=self._asked,
            continuous_batching_config=ContinuousBatchingConfig(
                max_batch_tokens=AT_ONCE, num_blocks=AT_ONCE * pages + 8, page_size=PAGE, allow_block_sharing=False
            ),
        )
        taken = time.monotonic() - began
        assert len(found) == count
        lengths += [len(one.generated_tokens) for one in found.values()]
        return taken


def _compare(lengths: dict[str, Sequence[int]]) -> None:
    """Raise AssertionError unless samples are about as long on all sides, and as long as molecules."""
    ours = statistics.fmean(lengths["ours"])
    assert MEAN_TOKENS[0] <= ours <= MEAN_TOKENS[1], f"{ours:.1f} tokens in the mean"
    for way, found in lengths.items():
        error = statistics.stdev(found) / len(found) ** 0.5
        assert abs(statistics.fmean(found) - ours) < 4 * error + 0.5, f"{way}: {statistics.fmean(found):.1f} tokens"
