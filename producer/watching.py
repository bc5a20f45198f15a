"""Following jobs until nothing more happens by itself: polling, pace, short outages; the look is `display`'s."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from producer.display import Standing, bars, progress_line
from producer.pace import Pace
from producer.serving import Offer, lack
from schemas.database import Database
from schemas.errors import ServerUnavailable
from schemas.ledger import leases, progress
from schemas.ledger.progress import JobProgress
from schemas.states import JobState

_POLL = 0.5  # seconds
PATIENCE = 300.0  # seconds of outage: longer than a restart of PostgreSQL, shorter than a night


View = Callable[[Sequence[Standing], str | None], None]
"""Where the watched jobs are shown, as often as they are read, with what is to be said about all of them."""


def settled(job: JobProgress) -> bool:
    """Whether watching on is of no use: it has ended, or a fault has paused it and somebody must act."""
    return job.ended or (job.state is JobState.PAUSED and job.reason is not None)


def follow(
    database: Database,
    jobs: Sequence[int],
    view: View,
    *,
    until: Callable[[JobProgress], bool] = settled,
    patience: float = PATIENCE,
) -> list[JobProgress]:
    """Show the jobs until all are settled, or as far as `until` says; returns how they stand then.

    Raises:
        NotFound: a job does not exist, or no longer.
        ServerUnavailable: PostgreSQL was away for longer than `patience` seconds.
    """
    paces = {job: Pace() for job in jobs}
    standings: list[Standing] = []
    away_since: float | None = None
    while True:
        now = time.monotonic()
        try:
            read = [progress.of_job(database, job) for job in jobs]
            offers = [(lease["queues"], lease["memory"]) for lease in leases.live(database)]
        except ServerUnavailable:
            away_since = away_since or now
            away = time.monotonic() - away_since
            if away > patience:
                raise
            view(standings, f"waiting for PostgreSQL ({away:.0f} s)")
            time.sleep(_POLL)
            continue
        away_since = None
        for job in read:
            paces[job.id].observe(now, job.done)
        standings = [standing(job, paces[job.id], offers) for job in read]
        view(standings, None)
        if all(until(job) for job in read):
            return read
        time.sleep(_POLL)


def standing(job: JobProgress, pace: Pace, offers: Sequence[Offer]) -> Standing:
    """A job as it is to be shown, where live workers offer this."""
    running = job.state is JobState.RUNNING
    note = None
    if job.state is JobState.PAUSED:
        note = f"paused: {job.reason}" if job.reason else f"paused; 'sciqueue resume {job.id}' lets it go on"
    elif running and job.outstanding:
        note = lack(job, offers)
    left = pace.seconds_left(job.outstanding) if running and job.sealed and job.outstanding else None
    return Standing(job, pace.rate if running else None, left, note)


@contextmanager
def view_on(console: Console, *, every: float) -> Iterator[View]:
    """Live bars on a terminal; elsewhere a line a job every so many seconds, and whenever its state changes."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda standings, notice: live.update(bars(standings, notice), refresh=True)
    else:
        yield _Lines(console, every)


class _Lines:
    """Progress for logs: said when its time has come, or when something other than a count has changed."""

    def __init__(self, console: Console, every: float) -> None:
        self._console = console
        self._every = every
        self._said: dict[int | None, tuple[object, float]] = {}

    def __call__(self, standings: Sequence[Standing], notice: str | None) -> None:
        if notice:
            self._say(None, True, f"{time.strftime('%H:%M:%S')} {notice}")
            return
        self._said.pop(None, None)
        for one in standings:
            self._say(one.job.id, (one.job.state, one.note), progress_line(one), last=one.job.ended)

    def _say(self, subject: int | None, change: object, line: str, *, last: bool = False) -> None:
        now = time.monotonic()
        known, at = self._said.get(subject, (None, 0.0))
        if known != change or (not last and now - at >= self._every):
            self._said[subject] = (change, now)
            self._console.print(line, soft_wrap=True, markup=False)
            self._console.file.flush()
