"""The same with Ray Data's `map_batches`, in the rivals' environment: a pass for each line that comes in.

Answers each line with the seconds from the time at which its actor had loaded the model, and the values.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import ray  # type: ignore[import-not-found]  # only the rivals' environment has it

from tests.benchmarks.line_rival import answers, serve

SIZE = 64


class Predictor:
    """An actor with the model."""

    def __init__(self) -> None:
        from tests.benchmarks.celery_rivals import model

        self._model = model()
        self._ready = time.time()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        values = self._model(batch["smiles"].tolist())
        return {"row": batch["row"], "values": values, "ready": [self._ready] * len(values)}


def main() -> None:
    """Serve passes over the SMILES of the file that is named."""
    smiles = json.loads(Path(sys.argv[1]).read_text())
    to = answers()
    # One more processor than there is torch for: an actor that holds all would leave none to read the rows.
    ray.init(num_cpus=3, include_dashboard=False, _node_ip_address="127.0.0.1", logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False

    def run() -> tuple[float, list[list[float]]]:
        rows = ray.data.from_items([{"row": row, "smiles": text} for row, text in enumerate(smiles)])
        pool = ray.data.ActorPoolStrategy(size=1)
        found = rows.map_batches(Predictor, batch_size=SIZE, compute=pool, num_cpus=2).take_all()
        seconds = time.time() - found[0]["ready"]
        return seconds, [list(row["values"]) for row in sorted(found, key=lambda row: row["row"])]

    serve(run, to)


if __name__ == "__main__":
    main()
