"""The T5 of a checkpoint in CTranslate2, int8, on length-sorted batches; in the rivals' environment.

Its batches end with their last row, as those of `generate` do: it knows no length of its own for each row.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import ctranslate2  # type: ignore[import-not-found]  # only the rivals' environment has it
from ctranslate2.converters import TransformersConverter  # type: ignore[import-not-found]

from tests.benchmarks.line_rival import answers, serve

SIZES = (8, 16, 32)
TRIED = 48  # rows that each size is tried on


def main() -> None:
    """Serve passes over the work of the file that is named: JSON, [[token ids, tokens to write], ...]."""
    to = answers()
    checkpoint, work = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    with tempfile.TemporaryDirectory() as folder:
        made = TransformersConverter(checkpoint).convert(folder, quantization="int8", force=True)
        tokens = json.loads((Path(made) / "shared_vocabulary.json").read_text())
        translator = ctranslate2.Translator(made, device="cpu", inter_threads=1, intra_threads=2)
    ordered = sorted((([tokens[at] for at in ids], out) for ids, out in work), key=lambda row: len(row[0]))

    def run(rows: list[tuple[list[str], int]], size: int) -> float:
        began = time.monotonic()
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            most = max(out for _, out in batch)
            found = translator.translate_batch(
                [source for source, _ in batch], beam_size=1, min_decoding_length=most, max_decoding_length=most
            )
            assert all(len(one.hypotheses[0]) == most for one in found)
        return time.monotonic() - began

    best = min(SIZES, key=lambda size: run(ordered[:: max(1, len(ordered) // TRIED)], size))
    serve(lambda: run(ordered, best), to)


if __name__ == "__main__":
    main()
