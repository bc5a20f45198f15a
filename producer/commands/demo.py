"""`sciqueue demo`: the main job on real data, from nothing to results, on this machine alone."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from producer import display, results
from producer.commands.common import registry
from producer.commands.inspect import watch_to_the_end
from producer.commands.processes import flower_line
from producer.demo_corpora import aclsum_papers, approved_drugs
from producer.running import start, stop
from producer.stack import StackFile
from producer.submission import submit
from schemas.command import PROCESSES, examples
from schemas.database import Database
from schemas.endpoints import open_database
from schemas.items import Record, Task
from schemas.ledger import progress
from schemas.settings import load_settings

_SHOWN = 5  # results of each kind
_GENERATED = 1_000  # molecules
_ENDPOINTS = ("BBB_Martins", "hERG", "AMES", "Solubility_AqSolDB")


def register(app: typer.Typer) -> None:
    """Join the `sciqueue` command."""
    app.command(
        rich_help_panel=PROCESSES,
        epilog=examples("sciqueue demo", "sciqueue demo --keep # leaves everything running, to look around"),
    )(demo)


def demo(
    device: Annotated[str, typer.Option(help="'auto', 'cpu', or GPUs by number or UUID.")] = "auto",
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running afterwards.")] = False,
) -> None:
    """Predict 41 ADMET properties of the approved drugs, summarize 100 papers and generate 1,000 molecules."""
    settings = load_settings()
    console = display.console()
    was_running = StackFile(settings).running() is not None
    try:
        with console.status("starting") as status:
            info = start(settings, device, lambda what: status.update(f"waiting for {what}"))
        console.print(f"[green]up[/green]: PostgreSQL, broker, dispatcher, worker on {device}. {flower_line(info)}")
        with open_database(settings) as database:
            code, exported = _run(console, database)
        _next_steps(console, exported, stays=keep or was_running)
    finally:
        if not keep and not was_running:
            with console.status("stopping"):
                stop(settings)
            console.print("everything is stopped; the results stay (sciqueue up shows them again)")
    raise typer.Exit(code)


def _run(console: Console, database: Database) -> tuple[int, int]:
    """Submit a job of each task, watch, show the first results and the rates; returns exit code and a job to export."""
    began = time.monotonic()
    molecules = _submit(database, approved_drugs(), Task.PREDICT, "demo-approved-drugs")
    papers = _submit(database, aclsum_papers(), Task.SUMMARIZE, "demo-aclsum-papers")
    generated = _submit(database, None, Task.GENERATE, "demo-generated-molecules", count=_GENERATED)
    code = watch_to_the_end(database, [molecules, papers, generated])
    seconds = time.monotonic() - began
    _show_predictions(console, database, molecules)
    _show_summaries(console, database, papers)
    _show_generated(console, database, generated)
    for job in (molecules, papers, generated):
        ended = progress.of_job(database, job)
        took = (ended.finished_at - ended.created_at).total_seconds() if ended.finished_at else seconds
        console.print(
            f"job {job}: {ended.succeeded:,} results and {ended.failed:,} failures of {ended.total:,} rows "
            f"in {took:.1f} s, {ended.total / took:,.1f} rows/s (model loading included)"
        )
    return code, molecules


def _submit(
    database: Database, records: Iterable[Record] | None, task: Task, name: str, count: int | None = None
) -> int:
    """Submit a corpus; a demo that was run before computes anew, so that there is something to watch."""
    return submit(database, registry(), records, task=task, name=name, count=count, again=True).job


def _show_predictions(console: Console, database: Database, job: int) -> None:
    table = Table(title="The first predictions (value ± spread of the ensemble)", title_justify="left")
    for column in ("drug", *_ENDPOINTS):
        table.add_column(column, overflow="ellipsis", max_width=22)
    for row in _first(results.rows(database, job, failures=False)):
        values = (f"{row[name]:.2f} ± {row[f'{name}_std']:.2f}" for name in _ENDPOINTS)
        table.add_row(display.plain(row["name"]), *values)
    console.print(table)


def _show_summaries(console: Console, database: Database, job: int) -> None:
    table = Table(title="The first summaries", title_justify="left", show_lines=True, width=min(console.width, 120))
    table.add_column("paper", max_width=30)
    table.add_column("summary")
    for row in _first(results.rows(database, job, failures=False), 2):
        table.add_row(display.plain(row["title"]), display.plain(row["summary"]))
    console.print(table)


def _show_generated(console: Console, database: Database, job: int) -> None:
    made = [row for row in results.rows(database, job, failures=False) if row["valid"]]
    table = Table(
        title=f"The first of {len(made):,} valid molecules among {_GENERATED:,} generated", title_justify="left"
    )
    for column in ("molecule", "QED", "SA", "logP", "MW"):
        table.add_column(column, overflow="fold")
    for row in _first(made):
        values = (f"{row[name]:.2f}" for name in ("qed", "sa", "logp", "mw"))
        table.add_row(display.plain(row["canonical"]), *values)
    console.print(table)


def _first(rows: Iterable[dict[str, Any]], count: int = _SHOWN) -> list[dict[str, Any]]:
    return [row for row, _ in zip(rows, range(count), strict=False)]


def _next_steps(console: Console, job: int, *, stays: bool) -> None:
    first = [] if stays else ["sciqueue up"]
    console.print("try next:", style="bold")
    for line in (
        *first,
        "sciqueue jobs",
        f"sciqueue export {job} -o drugs.csv   # input order, one column an endpoint, failures with their reason",
        "sciqueue submit your.csv --task predict --watch",
        "sciqueue sql \"SELECT smiles, value FROM analysis.predictions WHERE endpoint = 'hERG' LIMIT 5\"",
        "sciqueue down",
    ):
        console.print(f"  {line}", markup=False, soft_wrap=True)
