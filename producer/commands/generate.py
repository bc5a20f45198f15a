"""The command that generates to a target: generate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from producer import display, results
from producer.commands.common import JOBS, AsJson, opened, parameters_of, print_json, registry
from producer.display import Standing
from producer.readers.iterables import records_from
from producer.readers.open import read
from producer.watching import View, view_on
from schemas.command import examples
from schemas.errors import UsageError
from schemas.items import ContentKind, Record, Task
from schemas.settings import load_settings
from schemas.states import Priority

if TYPE_CHECKING:
    from producer.generating import Generated
    from producer.novelty import Known
    from producer.yields import Yield

SHORT = 9  # the exit code where the budget was spent before the target was reached; no fault has it

_SMILES = ".smi"


def register(app: typer.Typer) -> None:
    """Add the command to the one app."""
    app.command(
        rich_help_panel=JOBS,
        epilog=examples(
            "sciqueue generate --target 10000 --budget 30000 --novel-to train.smi -o new.csv",
            "sciqueue generate --target 500 --prompt 'c1ccc2c(c1)' --prompt 'O=C(N' # begin with these, in turn",
            "sciqueue generate --target 1000 --model our-generator --param temperature=1.2 --json",
        ),
    )(generate)


def generate(
    target: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="How many valid, unique, novel molecules there shall be."),
    ],
    budget: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="At most so many samples; unset: 10 times the target."),
    ] = None,
    novel_to: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Molecules that do not count, in any form that 'submit' reads."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="See 'sciqueue models'; unset: the task's default.")
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SMILES", help="Text that a sample begins with; may be repeated, '' for none.", show_default=False
        ),
    ] = None,
    prompts: Annotated[str | None, typer.Option(metavar="FILE", help="A file of such texts.")] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A parameter of the model; may be repeated.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write them: .csv, .jsonl, .parquet or .smi."),
    ] = None,
    priority: Annotated[Priority, typer.Option(help="The share of the workers, beside other jobs.")] = Priority.NORMAL,
    as_json: AsJson = False,
) -> None:
    """Generate until so many samples are valid, unique and novel molecules.

    A molecule is told by its canonical SMILES; the first sample that brings it counts.
    Samples are drawn in rounds, no more than it takes. What breaks off is continued by the same command, and a larger
    target or budget goes on with the samples that are there.
    A prompt is text: the sample goes on from its end, as written. It may leave rings and branches open.
    It fixes how the SMILES begins, not what the molecule must contain elsewhere, nor where it may grow.
    The exit code is 0 if the target is reached, 9 if the budget was spent before; what was found is written in both.
    """
    # numpy takes a while to import, which no other command should wait for.
    from producer.generating import generate as generate_to_target

    _check_output(output)
    known_models = registry()
    console = display.console(stderr=True)
    begins = _prompts(prompt or [], prompts)
    try:
        known = None if novel_to is None else _known(console, novel_to)
        with opened() as database:
            with view_on(console, every=5.0) as view:
                done = generate_to_target(
                    database,
                    known_models,
                    target=target,
                    budget=budget,
                    known=known,
                    model=model,
                    parameters=parameters_of(param or []),
                    prompts=begins,
                    priority=priority,
                    view=_as_a_whole(view),
                    on_round=_round_on(console),
                )
            written = None if output is None else _write(done, output)
    except KeyboardInterrupt:
        console.print("broken off; what was begun is computed, and the same command goes on from there")
        raise typer.Exit(130) from None
    if as_json:
        print_json(done.report())
    else:
        _tell(done, known, output, written)
    raise typer.Exit(0 if done.found.reached else SHORT)


def _prompts(given: Sequence[str], file: str | None) -> list[Record]:
    found = list(records_from(given, ContentKind.PROMPT))
    if file is not None:
        found += read(file, kind=ContentKind.PROMPT)
        if len(found) == len(given):
            raise UsageError(f"{file} holds no prompt")
    return found


def _known(console: Console, source: str) -> Known:
    from producer.novelty import known_molecules

    with console.status("reading known molecules") as status:

        def on_progress(rows: int) -> None:
            status.update(f"reading known molecules: {rows:,} rows")

        return known_molecules(source, load_settings().known_dir, on_progress)


def _round_on(console: Console) -> Callable[[Yield, int, int], None]:
    def on_round(found: Yield, drawn: int, more: int) -> None:
        so_far = f"{len(found.kept):,} of {found.target:,} from {drawn:,} samples; " if drawn else ""
        console.print(f"{so_far}drawing {more:,}{' more' if drawn else ''}", soft_wrap=True, markup=False)

    return on_round


def _as_a_whole(view: View) -> View:
    """Nothing joins the corpus during a round, so its rate and time left say something."""

    def show(standings: Sequence[Standing], notice: str | None) -> None:
        whole = [
            replace(one, job=replace(one.job, sealed=True), left=one.job.outstanding / one.rate if one.rate else None)
            for one in standings
        ]
        view(whole, notice)

    return show


def _check_output(output: Path | None) -> None:
    """Know before the work whether its results can be written."""
    if output is None:
        return
    if output.suffix.lower() != _SMILES:
        from producer.export import format_of

        format_of(output)
    if not output.parent.is_dir():
        raise UsageError(f"cannot write {output}: there is no folder {output.parent}")


def _write(done: Generated, output: Path) -> int:
    from producer.export import format_of, replacing, write, write_smiles
    from producer.export_types import typed

    with replacing(output) as file:
        if output.suffix.lower() == _SMILES:
            return write_smiles(done.rows(), file, done.job)
        columns = typed(results.columns(done.database, done.job), Task.GENERATE)
        return write(done.rows, columns, file, format_of(output))


def _tell(done: Generated, known: Known | None, output: Path | None, written: int | None) -> None:
    console = display.console()
    found = done.found
    figures = []
    for name, count in found.counts().items():
        share = "" if count.share is None else f"{count.share:.4f}"
        figures.append((name, share, f"{count.count:,} of {count.of:,} {count.of_what}"))
    console.print(display.records(["job " + str(done.job), "share", "count"], figures, right=["share"]))
    notes = [f"{done.drawn:,} samples drawn"]
    if found.end < done.drawn:
        notes.append(f"counted up to row {found.end - 1:,}")
    if found.failed:
        notes.append(f"{found.failed:,} rows failed ('sciqueue status {done.job}' says why)")
    if known is None:
        notes.append("novelty not judged (--novel-to)")
    else:
        notes.append(f"novel to {len(known.keys):,} molecules, {known.unreadable:,} rows of them unreadable")
    console.print("; ".join(notes), style="dim", soft_wrap=True)
    if done.shortfall:
        console.print(f"target not reached: {done.shortfall}", style="yellow", soft_wrap=True, markup=False)
    if written is not None:
        console.print(f"{written:,} molecules are in {output}", soft_wrap=True, markup=False)
