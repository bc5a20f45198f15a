"""`make bench`: each row of the table in a process of its own, one after the other; `make bench ROW=name` for one.

Exits 0 only when every bar is met. Figures are ratios of medians from one run on one machine; see the README.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from tests.benchmarks.figures import Figure
from tests.benchmarks.plot import draw

# Each module offers `figures() -> list[Figure]`.
ROWS = {
    "predict": "predict",
    "classifier": "classifier",
    "t5": "seq2seq",
    "generation": "generation",
    "queue-cost": "queue_cost",
    "interactive": "interactive",
}


def main() -> None:
    """Run the rows that are asked for and print a line for each figure."""
    arguments = argparse.ArgumentParser(prog="make bench", description=__doc__)
    arguments.add_argument("--row", choices=ROWS, action="append", help="only this one; may be repeated")
    arguments.add_argument("--json", type=Path, help="also write the figures there")
    arguments.add_argument("--plot", type=Path, help="also draw the ratios there")
    arguments.add_argument("--inside", type=Path, help=argparse.SUPPRESS)  # the process of one row: where to answer
    options = arguments.parse_args()
    rows = options.row or list(ROWS)
    if options.inside:
        found = import_module(f"tests.benchmarks.{ROWS[rows[0]]}").figures()
        options.inside.write_text(json.dumps([asdict(figure) for figure in found]))
        return
    print(f"{'name':<26}{'against':<40}{'ours':>10}{'theirs':>10} {'unit':<14}{'ratio':>7}{'bar':>6}", flush=True)
    figures: list[Figure] = []
    broken = 0
    for row in rows:
        measured = measure(row)
        broken += measured is None
        for figure in measured or []:
            print(line(figure), flush=True)
        figures += measured or []
    if options.json:
        options.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1))
    if options.plot:
        draw(figures, options.plot)
    sys.exit(1 if broken or any(figure.verdict == "short" for figure in figures) else 0)


def measure(row: str) -> list[Figure] | None:
    """One row's figures, from a process of its own: threads, memory and caches are then as in a fresh worker."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "figures.json"
        ended = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks", "--row", row, "--inside", str(answer)],
            check=False,
            env={"OMP_WAIT_POLICY": "passive", **os.environ},  # as workers have it; the others gain by it, too
        )
        if ended.returncode or not answer.exists():
            print(f"{row:<26}broken: its process ended with status {ended.returncode}", flush=True)
            return None
        return [Figure(**fields) for fields in json.loads(answer.read_text())]


def line(figure: Figure) -> str:
    """A figure as a line of the table."""
    bar = "" if figure.bar is None else f"{figure.bar:g}"
    return (
        f"{figure.name:<26}{figure.against:<40}{figure.ours:>10.4g}{figure.theirs:>10.4g} {figure.unit:<14}"
        f"{figure.ratio:>7.2f}{bar:>6} {figure.verdict}"
    )


if __name__ == "__main__":
    main()
