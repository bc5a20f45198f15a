"""One job over ever more workers: rows per second through the whole system, and the share of what the devices could do.

Each worker process has a simulated device that really waits, as long as one that computes 1,000 rows/s. `make scaling`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

from tests.acceptance.lab import Lab, lab, until

ROWS_A_SECOND = 1000  # of one device
LENGTH = 20  # tokens a row, all alike: a micro-batch costs longest x count
BATCH_ROWS = 256
SECONDS = 30  # of work for each device
BAR = 0.9  # of the devices' own rate, at the most of them


@dataclass(frozen=True, slots=True)
class Point:
    """What so many devices did: rows per second from submit to the last row's outcome."""

    devices: int
    rate: float

    @property
    def efficiency(self) -> float:
        """1.0 if no device ever waited."""
        return self.rate / (self.devices * ROWS_A_SECOND)


def main() -> None:
    """Measure each number of devices in turn, and exit with 1 if the largest is below the bar."""
    arguments = argparse.ArgumentParser(prog="make scaling", description=__doc__)
    arguments.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    arguments.add_argument("--seconds", type=int, default=SECONDS, help="of work for each device")
    arguments.add_argument("--plot", type=Path, metavar="FILE.svg")
    options = arguments.parse_args()
    print(f"{'devices':>8}{'rows/s':>10}{'efficiency':>12}", flush=True)
    points = []
    for devices in options.devices:
        points.append(measure(devices, options.seconds))
        print(f"{devices:>8}{points[-1].rate:>10,.0f}{points[-1].efficiency:>12.3f}", flush=True)
    if options.plot:
        draw(points, options.plot)
    ok = points[-1].efficiency >= BAR
    print(f"bar {BAR * ROWS_A_SECOND * points[-1].devices:,.0f} rows/s   {'ok' if ok else 'short'}")
    raise SystemExit(not ok)


def measure(devices: int, seconds: int) -> Point:
    """One job of `seconds` of work for each device."""
    rows = devices * ROWS_A_SECOND * seconds
    with lab(device=",".join(["cpu"] * devices), torch_threads="1") as site:
        until(lambda: _slots(site) == 8 * devices, 120.0)
        _submit(site, _source(site, devices * 8 * BATCH_ROWS, "warm.smi"))  # each process loads its engine
        began, ended = _submit(site, _source(site, rows, "rows.smi"))
    return Point(devices, rows / (ended - began))


def _slots(site: Lab) -> int:
    found = site.query(
        "SELECT coalesce(sum(slots), 0)::int AS slots FROM sciqueue.leases WHERE closed_at IS NULL AND device = 'cpu' "
        "AND 'sciqueue.predict' = ANY(queues)"
    )
    return int(found[0]["slots"])


def _source(site: Lab, rows: int, name: str) -> Path:
    """So many chains of one length, all different."""
    path = site.home / name
    path.write_text("".join("".join(atoms) + "\n" for atoms in islice(product("CNO", repeat=LENGTH), rows)))
    return path


def _submit(site: Lab, source: Path) -> tuple[float, float]:
    """When the job was opened and when its last row was recorded, in seconds by the database's clock."""
    cost = 1e9 / (ROWS_A_SECOND * LENGTH)
    site.command(
        *("submit", str(source), "--model", "fake-predict", "--batch-rows", str(BATCH_ROWS)),
        *("--param", f"ns_per_token={cost}"),
    )
    job = int(site.query("SELECT max(id) AS id FROM sciqueue.jobs")[0]["id"])
    done = site.wait(job, 600.0, poll=0.5)
    assert done.failed == 0 and done.finished_at is not None, done
    return done.created_at.timestamp(), done.finished_at.timestamp()


def draw(points: Sequence[Point], target: Path) -> None:
    """Rows per second by devices, beside the line of no loss."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    counts = [point.devices for point in points]
    axes.plot(counts, [count * ROWS_A_SECOND for count in counts], color="grey", linewidth=0.8, label="no loss")
    axes.plot(counts, [point.rate for point in points], "o-", color="#2a78b5", label="measured")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_yticks([count * ROWS_A_SECOND for count in counts], [f"{count * ROWS_A_SECOND:,}" for count in counts])
    axes.set_xlabel("simulated devices, 1,000 rows/s each")
    axes.set_ylabel("rows/s, submit to last row")
    axes.legend(frameon=False)
    figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
