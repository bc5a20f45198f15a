"""Commands that show how jobs stand: jobs, status, watch."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.text import Text

from producer import display, job_report
from producer.commands.common import JOBS, AsJson, JobNumber, opened, print_json
from producer.job_report import JobReport
from producer.watching import follow, settled, view_on
from schemas.command import examples
from schemas.database import Database
from schemas.ledger import progress
from schemas.ledger.progress import JobProgress
from schemas.states import JobState

_NEWEST = 20
_EVERYTHING = 1_000_000
_OUTAGE_POLL = 3.0  # seconds that a watched database may take before the view says that it is away


def register(app: typer.Typer) -> None:
    """Add the commands to the one app."""
    app.command("jobs", rich_help_panel=JOBS, epilog=examples("sciqueue jobs", "sciqueue jobs --all --json"))(jobs)
    app.command(rich_help_panel=JOBS, epilog=examples("sciqueue status 3", "sciqueue status 3 --json"))(status)
    app.command(
        rich_help_panel=JOBS,
        epilog=examples(
            "sciqueue watch # all jobs that have not ended",
            "sciqueue watch 3 && sciqueue export 3 -o out.csv",
            "sciqueue watch 3 --every 60 > job.log # a line a minute",
        ),
    )(watch)


def jobs(
    everything: Annotated[bool, typer.Option("--all", help=f"All jobs, not only the newest {_NEWEST}.")] = False,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with opened() as database:
        found = progress.of_jobs(database, limit=_EVERYTHING if everything else _NEWEST + 1)
    shown = found if everything else found[:_NEWEST]
    if as_json:
        print_json([_as_data(job) for job in shown])
        return
    if not shown:
        typer.echo("no jobs yet; 'sciqueue submit --help' shows how to begin")
        return
    console = display.console()
    console.print(display.jobs_table(shown))
    if len(found) > len(shown):
        console.print("older ones: sciqueue jobs --all", style="dim")


def status(job: JobNumber, as_json: AsJson = False) -> None:
    """Show one job: its counts, why rows failed, its model, and who works on it."""
    with opened() as database:
        report = job_report.read(database, job)
    if as_json:
        print_json(report.to_json())
    else:
        _print_report(report)


def watch(
    job: Annotated[
        list[int] | None,
        typer.Argument(metavar="JOB", help="Jobs to watch; all that have not ended if none is named."),
    ] = None,
    every: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="Time between lines where there is no terminal.")
    ] = 5.0,
) -> None:
    """Follow jobs until they end.

    The exit code is 0 if all are done, 1 if one was cancelled or paused by a fault.
    Ctrl-C ends the watching, not the work.
    """
    with opened(timeout=_OUTAGE_POLL) as database:
        watched = list(dict.fromkeys(job or ())) or sorted(one.id for one in progress.of_jobs(database, live_only=True))
        if not watched:
            typer.echo("no job is running or paused")
            return
        raise typer.Exit(watch_to_the_end(database, watched, every=every))


def watch_to_the_end(database: Database, watched: list[int], *, every: float = 5.0, stderr: bool = False) -> int:
    """Show the jobs until they settle, say how each ended, and return the exit code."""
    console = display.console(stderr=stderr)
    try:
        with view_on(console, every=every) as view:
            ended = follow(database, watched, view)
    except KeyboardInterrupt:
        numbers = " ".join(map(str, watched))
        typer.echo(f"the work goes on without you; 'sciqueue watch {numbers}' follows it again", err=True)
        return 130
    for one in ended:
        console.print(display.ending(one), soft_wrap=True, markup=False)
    return 0 if all(one.state is JobState.DONE for one in ended) else 1


def _as_data(job: JobProgress) -> dict[str, Any]:
    return asdict(job) | {"done": job.done, "outstanding": job.outstanding}


def _print_report(report: JobReport) -> None:
    console = display.console()
    job = report.progress
    about: dict[str, Any] = {
        "job": Text.assemble((f"{job.id} ", "bold"), display.state(job)),
        "corpus": display.plain(job.corpus) + ("" if job.sealed else " (still loading)"),
        "task": f"{job.task.value} with {job.model}, revision {job.revision}",
    }
    if job.reason:
        about["reason"] = Text(display.plain(job.reason), style="yellow")
    if job.parameters:
        about["parameters"] = ", ".join(f"{name}={value}" for name, value in sorted(job.parameters.items()))
    about["done"] = f"{job.done:,} of {job.total:,} ({display.percent(job)})"
    if job.steps:
        about["steps"] = f"{job.step:,} of {job.steps:,}"
    about["outcomes"] = f"{job.succeeded:,} succeeded, {job.failed:,} failed"
    if job.retrying:
        about["retrying"] = f"{job.retrying:,} of the failed"
    waiting = {name: report.batches[name] for name in ("running", "queued", "pending") if name in report.batches}
    if waiting:
        about["batches"] = ", ".join(f"{count:,} {name}" for name, count in waiting.items())
    if not settled(job):
        workers = ", ".join(_worker(lease) for lease in report.workers)
        about["workers"] = Text(report.missing, style="yellow") if report.missing else workers
    about["created"] = f"{display.age(job.created_at)} ago"
    if job.finished_at:
        about["ended"] = f"{display.age(job.finished_at)} ago, after {_length(job)}"
    console.print(display.fields(about))
    if report.failures:
        console.print()
        console.print(display.records(["failures", "rows"], list(report.failures.items()), right=["rows"]))
        console.print()
        first = [(one.row, one.custom_id, one.error_code, one.error) for one in report.first_failures]
        console.print(display.records(["row", "id", "code", "reason"], first, right=["row"]))
        if job.failed > len(first):
            console.print(f"all of them: sciqueue export {job.id} --failures-only", style="dim")


def _worker(lease: dict[str, Any]) -> str:
    return f"{lease['worker']} ({lease['running']} of {lease['slots']} slots busy)"


def _length(job: JobProgress) -> str:
    assert job.finished_at is not None  # noqa: S101 - asked for ended jobs only
    return display.span((job.finished_at - job.created_at).total_seconds())
