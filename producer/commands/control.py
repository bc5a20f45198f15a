"""Commands that change a job: pause, resume, cancel, retry, delete."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.commands.common import JOBS, JobNumber, opened
from schemas.command import examples
from schemas.errors import RowError, UsageError
from schemas.ledger import jobs, progress


def register(app: typer.Typer) -> None:
    """Add the commands to the one app."""
    app.command(rich_help_panel=JOBS, epilog=examples("sciqueue pause 3 # let other jobs go first"))(pause)
    app.command(rich_help_panel=JOBS, epilog=examples("sciqueue resume 3 # also after mending what paused it"))(resume)
    app.command(rich_help_panel=JOBS, epilog=examples("sciqueue cancel 3"))(cancel)
    app.command(
        rich_help_panel=JOBS,
        epilog=examples(
            "sciqueue retry 3 # every failed row",
            "sciqueue retry 3 --code timeout --code out_of_memory # only those",
        ),
    )(retry)
    app.command(
        rich_help_panel=JOBS,
        epilog=examples("sciqueue delete 3", "sciqueue delete 3 --yes # without asking"),
    )(delete)


def pause(job: JobNumber) -> None:
    """Hold a job back; batches that are running end in their own time."""
    with opened() as database:
        jobs.pause(database, job)
    typer.echo(f"job {job} is paused; 'sciqueue resume {job}' lets it go on")


def resume(job: JobNumber) -> None:
    """Let a paused job go on where it was."""
    with opened() as database:
        jobs.resume(database, job)
    typer.echo(f"job {job} goes on; 'sciqueue watch {job}' follows it")


def cancel(job: JobNumber) -> None:
    """End a job for good; its outcomes so far stay and can be exported."""
    with opened() as database:
        jobs.cancel(database, job)
        standing = progress.of_job(database, job)
    typer.echo(f"job {job} is cancelled; its {standing.done:,} outcomes of {standing.total:,} stay")


def retry(
    job: JobNumber,
    code: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="Only failures with this code; may be repeated.", show_default=False),
    ] = None,
) -> None:
    """Compute the failed rows of a done job again.

    Rows that were rejected while loading stay as they are.
    """
    codes = code or []
    for one in codes:
        if one not in set(RowError):
            raise UsageError(f"no failure code '{one}'; there are: {', '.join(RowError)}")
    with opened() as database:
        outcomes = jobs.retry(database, job, codes)
    if outcomes:
        typer.echo(f"job {job} computes {outcomes:,} outcomes again; 'sciqueue watch {job}' follows it")
    else:
        typer.echo(f"job {job} has no failures that a retry could mend")


def delete(
    job: JobNumber,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove an ended job with its outcomes, and its corpus if no other job uses it."""
    with opened() as database:
        standing = progress.of_job(database, job)
        if not yes and not typer.confirm(f"Delete job {job} and its {standing.done:,} outcomes?"):
            typer.echo("nothing was deleted")
            return
        jobs.delete(database, job)
    typer.echo(f"job {job} is deleted")
