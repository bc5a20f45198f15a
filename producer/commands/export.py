"""The command that takes a job's results out: export."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from producer import display, results
from producer.commands.common import RESULTS, JobNumber, opened
from schemas.command import examples
from schemas.errors import UsageError
from schemas.ledger import progress
from schemas.ledger.progress import JobProgress

_LONG = 20_000  # rows: fewer are written before a progress bar could be read


def register(app: typer.Typer) -> None:
    """Add the command to the one app."""
    app.command(
        rich_help_panel=RESULTS,
        epilog=examples(
            "sciqueue export 3 -o results.parquet # the ending tells the format",
            "sciqueue export 3 --columns row,smiles,status > results.csv",
            "sciqueue export 3 --failures-only --format jsonl",
        ),
    )(export)


def export(
    job: JobNumber,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Unset: standard output.", show_default=False),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT", help="csv, jsonl or parquet; unset: by the ending of FILE, or csv."),
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="Only these columns, in this order.", show_default=False)
    ] = None,
    spread: Annotated[
        bool, typer.Option("--spread/--no-spread", help="With each prediction's spread and percentile.")
    ] = True,
    failures_only: Annotated[bool, typer.Option("--failures-only", help="Only the rows that failed.")] = False,
) -> None:
    """Write a job's rows to a file, in the order of its input.

    Failed rows are there with their reasons, and the input's own columns beside ours.
    A file is put in place only when it is complete.
    """
    # Arrow takes a while to import, which no other command should wait for.
    from producer.export import Format, format_of, replacing, write
    from producer.export_types import STATUS, typed

    if form is not None and form not in set(Format):
        raise UsageError(f"no format '{form}'; there are: {', '.join(Format)}")
    named = Format(form) if form else format_of(output) if output else Format.CSV
    if output is None and named is Format.PARQUET:
        raise UsageError("Parquet needs a file: add -o results.parquet")
    with opened() as database:
        standing = progress.of_job(database, job)
        _warn_if_unfinished(standing)
        header = results.columns(database, job, values_only=not spread)
        types = typed(header, standing.task)
        wanted = {name: types[name] for name in _chosen(header, columns)}

        def rows() -> Iterator[dict[str, Any]]:
            found = results.rows(database, job, values_only=not spread)
            return (row for row in found if row[header[STATUS]] == "failed") if failures_only else found

        if output is None:
            write(rows, wanted, sys.stdout.buffer, named)
            sys.stdout.buffer.flush()
            return
        with _progress(standing.total) as on_progress, replacing(output) as file:
            count = write(rows, wanted, file, named, on_progress)
    typer.echo(f"{count:,} rows are in {output}")


def _chosen(header: Sequence[str], columns: str | None) -> list[str]:
    """The columns to write: those asked for, written as a line of CSV, or all."""
    if columns is None:
        return list(header)
    asked = [name.strip() for name in next(csv.reader([columns]), [])]
    unknown = [name for name in asked if name not in header]
    if unknown or not asked:
        raise UsageError(f"no column '{', '.join(unknown)}'; there are: {', '.join(header)}")
    return list(dict.fromkeys(asked))


def _warn_if_unfinished(job: JobProgress) -> None:
    if not job.ended:
        loading = "" if job.sealed else ", and its corpus is still being loaded"
        typer.echo(
            f"sciqueue: job {job.id} is {job.state.value} with {job.done:,} of {job.total:,} outcomes{loading}; "
            "the status of the others is 'pending' here",
            err=True,
        )


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None] | None]:
    """A bar on standard error where somebody can see it and there is time to."""
    console = display.console(stderr=True)
    if total < _LONG or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("writing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda written: bar.update(task, completed=written)
