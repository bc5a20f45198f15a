"""What a job's ledger tells of the fleet: rows per second and live workers over time, as a table and a picture."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from pathlib import Path

from tests.acceptance.lab import Lab


class Bar(Enum):
    """What an event has to do to the settled rate. The bounds leave room for a busy machine: 4 of 6 workers are .67."""

    ANY = (0.0, math.inf)
    RISES = (1.2, math.inf)
    FALLS = (0.0, 0.85)
    RETURNS = (0.85, math.inf)

    def met(self, ratio: float) -> bool:
        """Whether the rate afterwards, in parts of the one before, is within."""
        least, most = self.value
        return least <= ratio <= most


@dataclass(frozen=True, slots=True)
class Phase:
    """An event and the seconds after it. From `settled` on those workers are at work that should be."""

    name: str
    bar: Bar
    began: float
    settled: float
    ended: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """All that was done, by the database's clock, in seconds."""

    phases: Sequence[Phase]
    batches: Sequence[tuple[float, int]]  # when each was done, and its rows
    shifts: Sequence[tuple[float, float]]  # from when to when each device worker held a lease
    device_rate: float  # rows per second of one simulated device

    @property
    def began(self) -> float:
        return self.phases[0].began

    @property
    def ended(self) -> float:
        return max(at for at, _ in self.batches)

    @property
    def ok(self) -> bool:
        return all(phase.bar.met(self.ratio(before, phase)) for before, phase in pairwise(self.phases))

    def ratio(self, before: Phase, phase: Phase) -> float:
        """The settled rate of a phase in parts of the one before."""
        return self.settled_rate(phase) / max(self.settled_rate(before), 1.0)

    def settled_rate(self, phase: Phase) -> float:
        return self.rate(phase.settled, phase.ended)

    def rate(self, since: float, until: float) -> float:
        """Rows per second."""
        return sum(rows for at, rows in self.batches if since <= at < until) / (until - since)

    def seconds(self, since: float, until: float) -> list[tuple[float, float]]:
        """The rate in each whole second, and when that began."""
        return [(since + n, self.rate(since + n, since + n + 1)) for n in range(int(until - since))]

    def live(self, at: float) -> int:
        """Device workers with a lease at this time."""
        return sum(began <= at < ended for began, ended in self.shifts)

    def changes(self) -> list[float]:
        """When the number of live workers changed during the phases and up to the job's end."""
        inner = {at for shift in self.shifts for at in shift if self.began < at < self.ended}
        return [self.began, *sorted(inner), self.ended]

    def __str__(self) -> str:
        lines = [f"{'at s':>5}  {'event':29}{'workers':>8}{'fewest':>7}{'meanwhile':>11}{'settled':>9}{'ratio':>7}"]
        for before, phase in zip([None, *self.phases], self.phases, strict=False):
            fewest = min(self.live(at) for at in [phase.began, *self._within(phase)])
            line = f"{phase.began - self.began:>5.0f}  {phase.name:29}{self.live(phase.ended):>8}{fewest:>7}"
            if before is None:
                lines.append(f"{line}{'':11}{self.settled_rate(phase):>9,.0f}")
                continue
            ratio = self.ratio(before, phase)
            verdict = f"{phase.bar.name.lower()}: {'ok' if phase.bar.met(ratio) else 'SHORT'}"
            meanwhile = self.rate(phase.began, phase.settled)
            lines.append(f"{line}{meanwhile:>11,.0f}{self.settled_rate(phase):>9,.0f}{ratio:>7.2f}  {verdict}")
        return "\n".join(lines)

    def _within(self, phase: Phase) -> list[float]:
        return [at for at in self.changes() if phase.began <= at < phase.ended]


def read(site: Lab, phases: Sequence[Phase], device_rate: float) -> Timeline:
    """Ask the ledger when each batch was done and when each device worker came and went."""
    batches = site.query(
        "SELECT extract(epoch FROM finished_at)::float8 AS at, rows FROM sciqueue.batches "
        "WHERE state = 'done' ORDER BY finished_at"
    )
    shifts = site.query(
        "SELECT extract(epoch FROM started_at)::float8 AS began, "
        "coalesce(extract(epoch FROM closed_at)::float8, 'infinity') AS ended "
        "FROM sciqueue.leases WHERE NOT starts_with(worker, 'suspects-')"  # a drained one serves no queue any more
    )
    return Timeline(
        phases,
        [(row["at"], row["rows"]) for row in batches],
        [(row["began"], row["ended"]) for row in shifts],
        device_rate,
    )


def draw(timeline: Timeline, target: Path) -> None:
    """Rows per second over time, before what the live workers' devices can do, with the events marked.

    After a crash the rate can lie above that: suspects are run on a device of their own, which is not counted.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    start = timeline.began
    changes = timeline.changes()
    able = [timeline.live(at) * timeline.device_rate for at in changes]
    axes.fill_between(
        [at - start for at in changes],
        able,
        step="post",
        color="#d9dee2",
        label="what the live workers' devices can do",
    )
    seconds = timeline.seconds(start, timeline.ended)
    axes.plot([at - start + 0.5 for at, _ in seconds], [rate for _, rate in seconds], color="#2a78b5", label="measured")
    top = max(able) * 1.45
    for phase in timeline.phases[1:]:
        axes.axvline(phase.began - start, color="grey", linewidth=0.8, linestyle=":")
        axes.text(phase.began - start + 0.4, top * 0.985, textwrap.fill(phase.name, 14), va="top", fontsize=7)
    axes.set_xlim(0, timeline.ended - start)
    axes.set_ylim(0, top)
    axes.set_xlabel("seconds")
    axes.set_ylabel("rows/s")
    figure.legend(frameon=False, loc="outside lower center", ncols=2, fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)
