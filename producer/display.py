"""How jobs, models and their progress look on a terminal. Nothing here reads a database or decides anything."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from schemas.ledger.progress import JobProgress
from schemas.states import JobState

_COLOURS = {
    JobState.RUNNING: "cyan",
    JobState.PAUSED: "yellow",
    JobState.DONE: "green",
    JobState.CANCELLED: "dim",
}
_BAR = 60  # columns at most, also where there is no edge
_UNBOUND = 10_000  # columns: a pipe or a file has no edge at which a table must be cut


def console(*, stderr: bool = False) -> Console:
    """Standard output or error. What is no terminal gets every table in its full width."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, highlight=False, width=None if stream.isatty() else _UNBOUND)


def plain(text: str) -> str:
    """Text of a corpus or a model without what could steer the terminal."""
    return "".join(sign if sign.isprintable() else " " if sign in "\n\r\t" else "\ufffd" for sign in text)


def span(seconds: float) -> str:
    """A length of time in its two largest units: `45s`, `3m 20s`, `2h 05m`, `4d 03h`."""
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days}d {hours % 24:02d}h"
    if hours:
        return f"{hours}h {minutes % 60:02d}m"
    if minutes:
        return f"{minutes}m {whole % 60:02d}s"
    return f"{whole}s"


def age(moment: datetime) -> str:
    """How long ago something was, whatever this machine's clock has to say about the server's."""
    return span(max(0.0, (datetime.now(UTC) - moment).total_seconds()))


def rate(per_second: float | None) -> str:
    """A rate with three digits that matter; nothing while it is not known."""
    if per_second is None:
        return ""
    return f"{per_second:,.0f}/s" if per_second >= 100 else f"{per_second:.3g}/s"


def percent(job: JobProgress) -> str:
    """The share that is done, cut rather than rounded, so that 100 % means all of it."""
    if not job.total:
        return ""
    return f"{job.done * 1000 // job.total / 10:.1f}%" if job.done < job.total else "100%"


def state(job: JobProgress) -> Text:
    """The state in its colour; `loading` while the corpus is still growing."""
    loading = job.state is JobState.RUNNING and not job.sealed
    return Text("loading" if loading else job.state.value, style=_COLOURS[job.state])


def jobs_table(jobs: Sequence[JobProgress]) -> RenderableType:
    """One line a job."""
    table = _table()
    widest = max((len(str(job.id)) for job in jobs), default=1)
    table.add_column("job", justify="right", style="bold", no_wrap=True, min_width=max(3, widest))
    table.add_column("corpus", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("task", no_wrap=True)
    table.add_column("model", no_wrap=True, overflow="ellipsis")
    # Whatever the terminal's width, these are said in full; the names above give way.
    table.add_column("state", no_wrap=True, min_width=9)
    table.add_column("done", justify="right", no_wrap=True, min_width=9)
    table.add_column("failed", justify="right", no_wrap=True, min_width=6)
    table.add_column("age", justify="right", no_wrap=True)
    for job in jobs:
        done = f"{job.done:,}/{job.total:,}" if job.done != job.total else f"{job.done:,}"
        failed = Text(f"{job.failed:,}", style="red" if job.failed else "dim")
        cells = (plain(job.corpus), job.task.value, job.model)
        table.add_row(str(job.id), *map(Text, cells), state(job), done, failed, age(job.created_at))
    return table


def fields(pairs: Mapping[str, RenderableType]) -> RenderableType:
    """Names and values, one a line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs.items():
        table.add_row(name, Text(value) if isinstance(value, str) else value)
    return table


def records(columns: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[str] = ()) -> RenderableType:
    """A plain table; `right` names the columns of numbers."""
    table = _table()
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else Text(plain(str(value))) for value in row))
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")


@dataclass(frozen=True, slots=True)
class Standing:
    """A watched job at a moment: its counts, outcomes a second, seconds left, and what it waits for, if anything."""

    job: JobProgress
    rate: float | None
    left: float | None
    note: str | None


def bars(standings: Sequence[Standing], notice: str | None) -> RenderableType:
    """A bar a job, with what each waits for below them; `notice` is about all of them."""
    table = Table.grid(padding=(0, 1))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=22)
    table.add_column(min_width=8, max_width=_BAR)
    for _ in range(4):
        table.add_column(justify="right", no_wrap=True)
    for one in standings:
        job = one.job
        bar = ProgressBar(total=max(job.total, 1), completed=job.done if job.total else job.ended)
        moving = job.state is JobState.RUNNING and job.sealed
        pace = (
            Text(" ".join((rate(one.rate), f"{span(one.left)} left" if one.left else "")).strip()) if moving else None
        )
        failed = Text(f"{job.failed:,} failed", style="red") if job.failed else ""
        counts = f"{job.done:,}/{job.total:,}" if not job.steps else f"step {job.step:,}/{job.steps:,}"
        table.add_row(f"#{job.id}", Text(plain(job.corpus)), bar, counts, percent(job), pace or state(job), failed)
    notes = [Text(f"  #{one.job.id} {plain(one.note)}", style="yellow") for one in standings if one.note]
    if notice:
        notes.append(Text(f"  {plain(notice)}", style="yellow"))
    return Group(table, *notes)


def progress_line(one: Standing) -> str:
    """A watched job in one line of text, for logs."""
    job = one.job
    parts = [
        job.steps and f"step {job.step:,} of {job.steps:,}",
        f"{job.done:,} of {job.total:,}",
        percent(job),
        rate(one.rate),
        one.left and f"{span(one.left)} left",
    ]
    parts += [job.failed and f"{job.failed:,} failed", None if job.state is JobState.RUNNING else job.state.value]
    told = ", ".join(str(part) for part in parts if part)
    note = f"; {one.note}" if one.note else ""
    return f"{time.strftime('%H:%M:%S')} job {job.id} ({plain(job.corpus)}): {told}{note}"


def ending(job: JobProgress) -> str:
    """What is to be said of a job that has ended, or that a fault has paused, and what to do next."""
    if job.state is JobState.PAUSED:
        return f"job {job.id} is paused: {job.reason or 'by a user'}; 'sciqueue resume {job.id}' lets it go on"
    counts = f"{job.succeeded:,} succeeded, {job.failed:,} failed"
    if job.state is JobState.CANCELLED:
        return f"job {job.id} was cancelled at {job.done:,} of {job.total:,}: {counts}"
    hint = f"'sciqueue export {job.id} -o results.csv' writes them"
    if job.failed:
        hint += f", 'sciqueue status {job.id}' says why rows failed"
    return f"job {job.id} is done: {counts}; {hint}"
