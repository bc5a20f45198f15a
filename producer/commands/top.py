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
from schemas.items import SUSPECTS, Task
from schemas.ledger import fleet, progress
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
        shown = _Shown(database)
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


class _Shown:
    """Keeps each job's pace between two looks."""

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
        served = {queue for device in devices for queue in device.queues}
        self._paces = {job.id: self._paces.get(job.id) or Pace() for job in jobs}
        for job in jobs:
            self._paces[job.id].observe(time.monotonic(), job.done)
        standings = [standing(job, self._paces[job.id], served) for job in jobs]
        parts = (
            _devices(devices),
            _queues(look(self._database, ahead=1), jobs),
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
            ", ".join(queue.removeprefix("sciqueue.") for queue in one.queues),
            display.age(one.since),
        )
        for one in devices
    ]
    return display.records(["worker", "batches", "rows", "serves", "up"], rows, right=["batches", "rows", "up"])


def _queues(seen: Outlook, jobs: Sequence[JobProgress]) -> RenderableType:
    rows = []
    for queue in (*(task.queue for task in Task), SUSPECTS):
        slots = seen.slots.get(queue)
        rows.append(
            (
                queue.removeprefix("sciqueue."),
                f"{sum(job.outstanding for job in jobs if job.task.queue == queue):,}" if queue != SUSPECTS else "",
                len(seen.waiting[queue] | seen.holding[queue]),
                seen.messages[queue],
                f"{slots.total - slots.free}/{slots.total}" if slots else "none live",
            )
        )
    columns = ["queue", "outcomes to come", "jobs", "messages", "slots busy"]
    return display.records(columns, rows, right=columns[1:])
