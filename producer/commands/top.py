"""The command that shows all at once: what the devices do, what waits for them, and how the jobs stand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from producer import display
from producer.commands.common import JOBS, opened
from producer.pace import Pace
from producer.watching import standing
from schemas.command import examples
from schemas.database import Database
from schemas.errors import ServerUnavailable
from schemas.items import SUSPECTS, Task, sized
from schemas.ledger import fleet, progress
from schemas.ledger.dispatches import Lane
from schemas.ledger.outlook import Outlook, look
from schemas.ledger.progress import JobProgress

_LATELY = 10.0  # seconds over which a device's rate is taken
_PATIENCE = 3.0  # seconds that PostgreSQL may take before the view says that it is away


def register(app: typer.Typer) -> None:
    """Add the command to the one app."""
    app.command(rich_help_panel=JOBS, epilog=examples("sciqueue top", "sciqueue top --once # prints it and ends"))(top)


def top(
    every: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Time between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print it once; so it is where there is no terminal.")] = False,
) -> None:
    """Show devices, queues and jobs, live, until Ctrl-C."""
    console = display.console()
    with opened(timeout=_PATIENCE) as database:
        shown = Shown(database)
        if once or not console.is_terminal:
            console.print(shown.now())
            return
        try:
            with Live(shown.now(), console=console, screen=True, auto_refresh=False) as live:
                while True:
                    time.sleep(every)
                    live.update(shown.now(), refresh=True)
        except KeyboardInterrupt:
            return


class Shown:
    """What the command shows, look by look; keeps each job's pace between two of them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._paces: dict[int, Pace] = {}
        self._last: RenderableType = ""

    def now(self) -> RenderableType:
        """What there is to see; the last of it while PostgreSQL is away."""
        try:
            self._last = self._look()
        except ServerUnavailable as fault:
            return Group(Text(str(fault), style="yellow"), "", self._last)
        return self._last

    def _look(self) -> RenderableType:
        devices = fleet.at_work(self._database, _LATELY)
        jobs = progress.of_jobs(self._database, live_only=True)[::-1]
        offers = [(device.queues, device.memory) for device in devices]
        self._paces = {job.id: self._paces.get(job.id) or Pace() for job in jobs}
        for job in jobs:
            self._paces[job.id].observe(time.monotonic(), job.done)
        standings = [standing(job, self._paces[job.id], offers) for job in jobs]
        parts = (
            _devices(devices),
            *_queues(look(self._database, ahead=1), jobs),
            display.bars(standings, None) if jobs else Text("no job is running or paused", style="dim"),
        )
        return Group(*(piece for part in parts for piece in (part, "")))


def _devices(devices: Sequence[fleet.DeviceAtWork]) -> RenderableType:
    if not devices:
        return Text("no worker is live: 'sciqueue worker' starts one", style="yellow")
    rows = [
        (
            one.worker,
            f"{one.running}/{one.slots}",
            display.rate(one.rate),
            ", ".join(_short(sized(queue, one.memory)) for queue in one.queues) or "nothing more: it drains",
            display.age(one.since),
        )
        for one in devices
    ]
    return display.records(["worker", "batches", "rows", "serves", "up"], rows, right=["batches", "rows", "up"])


def _queues(seen: Outlook, jobs: Sequence[JobProgress]) -> list[RenderableType]:
    """A table of the queues that hold work or that somebody waits at; none where that is no queue."""
    rows: list[tuple[str, str, int, int, int | str]] = []
    for task in Task:
        lanes = [lane for lane in seen.lanes.values() if lane.task is task]
        rows += [_row(seen, lane.queue, [job for job in jobs if _for(job, lane)]) for lane in lanes]
        if unserved := [job for job in jobs if job.task is task and not any(_for(job, lane) for lane in lanes)]:
            rows.append(_row(seen, task.queue, unserved))
    for queue in [lane.queue for lane in seen.lanes.values() if lane.task is None] or [SUSPECTS]:
        if suspected := seen.waiting[queue] | seen.holding[queue]:  # its rows are counted with those of their task
            rows.append((_short(queue), "", len(suspected), seen.messages[queue], _slots(seen, queue)))
    columns = ["queue", "outcomes to come", "jobs", "messages", "slots"]
    return [display.records(columns, rows, right=columns[1:])] if rows else []


def _row(seen: Outlook, queue: str, jobs: Sequence[JobProgress]) -> tuple[str, str, int, int, int | str]:
    to_come = f"{sum(job.outstanding for job in jobs):,}"
    return _short(queue), to_come, len(jobs), seen.messages[queue], _slots(seen, queue)


def _slots(seen: Outlook, queue: str) -> int | str:
    return seen.slots[queue].total if queue in seen.slots else "none live"


def _for(job: JobProgress, lane: Lane) -> bool:
    return lane.takes(job.task, False, job.need)


def _short(queue: str) -> str:
    return queue.removeprefix("sciqueue.")
