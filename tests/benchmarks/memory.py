"""Whether a worker's memory stays flat: 100,000 rows for predict and generate, 2,000 for the text engines.

`make bench-memory`. Lengths are mixed and every fiftieth row is hostile. Beside the rows that are done stands what the
worker and its preparing processes hold; after the first fifth, while models load and caches fill, it must not grow.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.acceptance.lab import Lab, lab
from tests.benchmarks import hostile
from tests.checkpoints import make_smiles_checkpoint
from tests.seq2seq_checkpoint import make_t5_checkpoint
from workers.bench import resident

MIB = 2**20
FLAT = 1.1  # the peak of the last fifth over that of the second one
SAMPLES = 10  # a prompt
REGISTRY = """
[small-causal]
task = "generate"
engine = "causal"
weights = {{ path = "{causal}" }}
parameters = {{ samples = 1, seed = 0, max_new_tokens = 100 }}
limits = {{ batch_rows = 512, batch_size = 100_000, token_budget = 65536, max_rows = 512, max_tokens = 128 }}

[small-t5]
task = "summarize"
engine = "seq2seq"
weights = {{ path = "{t5}" }}
parameters = {{ max_new_tokens = 40 }}
limits = {{ batch_rows = 16, batch_size = 400000, token_budget = 8192, max_rows = 32, max_tokens = 512 }}
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What a worker gets: a corpus written to a file, of so many rows, for a model."""

    write: Callable[[int, Path], Path]
    rows: int
    model: str
    parameters: tuple[str, ...] = ()
    samples: int = 1


LOADS = {
    "predict": Load(hostile.molecules, 100_000, "admet-ai", ("--param", "standardize=none")),
    "generate": Load(
        hostile.prompts, 100_000 // SAMPLES, "small-causal", ("--param", f"samples={SAMPLES}"), samples=SAMPLES
    ),
    "summarize, extractive": Load(hostile.papers, 2_000, "minilm-extractive"),
    "summarize, T5": Load(hostile.papers, 2_000, "small-t5"),
}


def main() -> None:
    """Run each load on a worker of its own and print what it held; exits 1 if one grew."""
    arguments = argparse.ArgumentParser(prog="make bench-memory", description=__doc__)
    arguments.add_argument("--load", choices=LOADS, action="append", help="only this one; may be repeated")
    arguments.add_argument("--share", type=float, default=1.0, help="of the rows, for a short run")
    options = arguments.parse_args()
    print(
        f"{'load':<24}{'outcomes':>10}{'failed':>8}{'seconds':>9}{'peak MiB by fifth of the outcomes':>42}{'growth':>9}"
    )
    grew = False
    with tempfile.TemporaryDirectory() as folder:
        registry = Path(folder) / "models.toml"
        causal = make_smiles_checkpoint(Path(folder) / "causal")
        t5 = make_t5_checkpoint(Path(folder) / "t5")
        registry.write_text(REGISTRY.format(causal=causal, t5=t5))
        for name in options.load or LOADS:
            with lab(models_file=str(registry), slots="8") as site:
                grew |= _run(name, LOADS[name], site, options.share)
    sys.exit(grew)


def _run(name: str, load: Load, site: Lab, share: float) -> bool:
    rows = int(load.rows * share)
    source = load.write(rows, site.home / ("rows.smi" if load.write is hostile.molecules else "rows.jsonl"))
    site.command("submit", str(source), "--model", load.model, *load.parameters)
    job = int(site.query("SELECT max(id) AS id FROM sciqueue.jobs")[0]["id"])
    worker = next(process for process in site.workers() if "suspects" not in " ".join(process.cmdline()))
    peaks = _watch(site, job, worker, rows * load.samples)
    done = site.wait(job, 60.0)
    assert done.succeeded + done.failed == rows * load.samples, done
    assert done.finished_at is not None
    growth = peaks[4] / (peaks[1] or peaks[0])  # of a short run the second fifth may have passed unseen
    held = " ".join(f"{peak / MIB:7.0f}" for peak in peaks)
    seconds = (done.finished_at - done.created_at).total_seconds()
    verdict = "ok" if growth <= FLAT else "grows"
    print(
        f"{name:<24}{rows * load.samples:>10,}{done.failed:>8,}{seconds:>9.0f}{held:>42}{growth:>9.2f} {verdict}",
        flush=True,
    )
    return growth > FLAT


def _watch(site: Lab, job: int, worker: psutil.Process, due: int) -> list[int]:
    """The most bytes that the worker with its processes held during each fifth of the outcomes."""
    peaks = [0] * 5
    done = 0
    with site.database() as database:
        while done < due:
            with database.transaction() as connection:
                row = connection.execute(
                    "SELECT sum(succeeded + failed)::bigint AS done FROM tallies WHERE job_id = %s", (job,)
                ).fetchone()
            done = int(row["done"] or 0) if row else 0
            part = min(4, done * 5 // due)
            peaks[part] = max(peaks[part], resident(worker))
            time.sleep(0.2)
    return peaks


if __name__ == "__main__":
    main()
