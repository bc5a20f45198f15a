"""A small job beside a large one: how much longer does it take than alone? `make bench-fairness`.

Both predict; the large one (100,000 rows) is well under way when the small one is submitted. Real engine with
`--model admet-ai`; the default fake one costs about as much a row.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from tests.acceptance.lab import Lab, lab, until
from tests.benchmarks.loading import write_smiles

NS_PER_TOKEN = 60_000


def main() -> None:
    """Alternate: alone, beside; report the medians and their ratio."""
    arguments = argparse.ArgumentParser(prog="make bench-fairness", description=__doc__)
    arguments.add_argument("--large", type=int, default=100_000)
    arguments.add_argument("--small", type=int, default=500)
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--molecules", type=Path, help="a .smi of real molecules, for a real model")
    arguments.add_argument("--model", default="fake-predict")
    options = arguments.parse_args()
    with lab() as site:
        small, large = (_source(site, count, options.molecules) for count in (options.small, options.large))
        _wait(site, _submit(site, small, options.model))  # loads the model
        alone, beside = [], []
        for _ in range(options.repeats):
            alone.append(_wait(site, _submit(site, small, options.model)))
            busy = _submit(site, large, options.model)
            until(lambda busy=busy: _done(site, busy) > options.small, 300.0)
            beside.append(_wait(site, _submit(site, small, options.model)))
            site.command("cancel", str(busy))
        one, two = statistics.median(alone), statistics.median(beside)
        print(
            f"{options.small:,} rows alone {one:.2f} s, beside {options.large:,} {two:.2f} s: {two / one:.2f} times"
            f"   bar 3.0   {'ok' if two <= 3 * one else 'short'}"
        )


def _source(site: Lab, rows: int, molecules: Path | None) -> Path:
    path = site.home / f"{rows}.smi"
    if molecules is None:
        write_smiles(path, rows)
    else:
        lines = molecules.read_text().splitlines()
        path.write_text("".join(f"{lines[row % len(lines)]}\n" for row in range(rows)))
    return path


def _submit(site: Lab, source: Path, model: str) -> int:
    slow = ("--batch-rows", "64", "--param", f"ns_per_token={NS_PER_TOKEN}") if model == "fake-predict" else ()
    site.command("submit", str(source), "--task", "predict", "--model", model, "--again", *slow)
    return int(site.query("SELECT max(id) AS id FROM sciqueue.jobs")[0]["id"])


def _wait(site: Lab, job: int) -> float:
    """Seconds from opening the job to its end, by the database's clock."""
    done = site.wait(job, 600.0)
    assert done.finished_at is not None
    return (done.finished_at - done.created_at).total_seconds()


def _done(site: Lab, job: int) -> int:
    return int(site.query("SELECT sum(succeeded)::int AS done FROM sciqueue.tallies WHERE job_id = %s", job)[0]["done"])


if __name__ == "__main__":
    main()
