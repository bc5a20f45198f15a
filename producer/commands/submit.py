"""The command that hands work in: submit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.markup import escape

from producer import display
from producer.commands.common import JOBS, AsJson, opened, parameters_of, print_json, registry
from producer.commands.inspect import watch_to_the_end
from producer.pace import Pace
from producer.readers.options import ReadOptions
from producer.submission import Submission
from producer.submission import submit as submit_source
from schemas.command import examples
from schemas.errors import UsageError
from schemas.items import INFERENCE, Task
from schemas.ledger.corpora import Corpus
from schemas.registry import Registry
from schemas.states import Priority

_LINE_EVERY = 5.0  # seconds between lines where there is no terminal
_READING = "How the source is read"
_RUNNING = "How the job runs"


def register(app: typer.Typer) -> None:
    """Add the command to the one app."""
    app.command(
        rich_help_panel=JOBS,
        epilog=examples(
            "sciqueue submit library.csv --task predict --watch",
            "sciqueue submit papers/ --task summarize --param sentences=5",
            "zcat big.smi.gz | sciqueue submit - --task predict --name big --format smi",
            "sciqueue submit --task generate --count 10000 # without prompts",
        ),
    )(submit)


def submit(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE", help="A file, a folder of files, or '-' for standard input.", show_default=False
        ),
    ] = None,
    task: Annotated[
        Task | None, typer.Option(help="What to do; can be left out if --model is named.", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="See 'sciqueue models'; unset: the task's default.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A parameter of the model; may be repeated.", show_default=False),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Generate from N empty prompts, without a source.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job until it ends.")] = False,
    as_json: AsJson = False,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of the corpus; needed for standard input.", rich_help_panel=_READING),
    ] = None,
    smiles_column: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Unset: 'smiles' or the like.", rich_help_panel=_READING)
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Unset: 'id', 'name' or the like.", rich_help_panel=_READING)
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT", help="As a file's ending: csv, smi.gz, …", rich_help_panel=_READING),
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(metavar="CHAR", help="Of a table's columns; 'tab' too.", rich_help_panel=_READING)
    ] = None,
    priority: Annotated[
        Priority, typer.Option(help="The share of the workers, beside other jobs.", rich_help_panel=_RUNNING)
    ] = Priority.NORMAL,
    batch_rows: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Rows a batch; unset: the model's.", rich_help_panel=_RUNNING),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Compute anew what an earlier job has computed.", rich_help_panel=_RUNNING)
    ] = False,
) -> None:
    """Load a corpus and have a model work on it.

    Work begins while the rest is loading. What breaks off is continued by the same command.
    """
    known = registry()
    options = ReadOptions(smiles_column=smiles_column, id_column=id_column, delimiter=delimiter, format=form)
    with opened() as database:
        with _loading() as on_progress:
            done = submit_source(
                database,
                known,
                source,
                task=_task(task, model, known),
                model=model,
                parameters=parameters_of(param or []),
                name=name,
                count=count,
                priority=priority,
                batch_rows=batch_rows,
                again=again,
                options=options,
                on_progress=on_progress,
            )
        _tell(done, as_json=as_json, watched=watch)
        if watch:
            raise typer.Exit(watch_to_the_end(database, [done.job], stderr=as_json))


def _task(task: Task | None, model: str | None, known: Registry) -> Task:
    if task is not None:
        return task
    if model is not None:
        return known.get(model).task
    raise UsageError(f"say what to do: --task {'|'.join(INFERENCE)}, or name a --model")


def _tell(done: Submission, *, as_json: bool, watched: bool) -> None:
    corpus, job = done.corpus, done.job
    if as_json:
        told = {"name": corpus.name, "id": corpus.id, "rows": corpus.loaded, "rejected": corpus.rejected}
        print_json({"job": job, "new_job": done.new_job, "corpus": told})
        return
    rows = f"{corpus.loaded:,} rows of corpus {escape(display.plain(corpus.name))}, {corpus.rejected:,} rejected"
    console = display.console()
    if done.new_job:
        console.print(f"[bold]job {job}[/bold]: {rows}", soft_wrap=True)
    else:
        console.print(f"[bold]job {job}[/bold] has this work already: {rows}; --again repeats it", soft_wrap=True)
    if not watched:
        console.print(
            f"next: sciqueue watch {job}  ·  sciqueue status {job}  ·  sciqueue export {job} -o results.csv",
            style="dim",
            soft_wrap=True,
        )


@contextmanager
def _loading() -> Iterator[Callable[[Corpus], None]]:
    """Show on standard error how far a load is: live on a terminal, else a line from time to time."""
    console = display.console(stderr=True)
    pace = Pace()
    said = time.monotonic()
    with console.status("opening the source") as status:

        def on_progress(corpus: Corpus) -> None:
            nonlocal said
            now = time.monotonic()
            pace.observe(now, corpus.loaded)
            parts = [f"{corpus.loaded:,} rows", display.rate(pace.rate), f"{corpus.rejected:,} rejected"]
            line = f"loading {display.plain(corpus.name)}: {', '.join(part for part in parts if part)}"
            if console.is_terminal:
                status.update(escape(line))
            elif now - said >= _LINE_EVERY:
                said = now
                console.print(line, soft_wrap=True, markup=False)

        try:
            yield on_progress
        except KeyboardInterrupt:
            status.stop()
            console.print("broken off; what is loaded stays, and the same command goes on from there", soft_wrap=True)
            raise typer.Exit(130) from None
