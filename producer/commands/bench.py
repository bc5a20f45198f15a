"""The command that measures a model on this machine: models bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from producer import benching, display
from producer.benching import Sample
from producer.commands.common import AsJson, ModelName, parameters_of, print_json, registry
from producer.readers.options import ReadOptions
from producer.submission import merge_parameters, samples_of
from schemas.items import Task
from schemas.measured import Measured, Order
from schemas.registry import ModelEntry
from schemas.revision import pin
from schemas.settings import load_settings

ROWS = {Task.PREDICT: 1000, Task.SUMMARIZE: 32, Task.GENERATE: 1000}
MANY = 1_000_000  # rows, of a forecast where the user has no corpus
_MIB = 2**20
_READING = "How the source is read"


def bench(
    name: ModelName,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="SOURCE",
            help="A corpus to measure with, as 'submit' takes it; may be repeated. Unset: sample data.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="'cpu', or one GPU: 'cuda:0', its number or UUID.")] = "cpu",
    rows: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Rows to measure with, drawn from all; unset: 1,000, of papers 32."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A parameter of the model; may be repeated.", show_default=False),
    ] = None,
    smiles_column: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Unset: 'smiles' or the like.", rich_help_panel=_READING)
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT", help="As a file's ending: csv, smi.gz, …", rich_help_panel=_READING),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model on a device of this machine, and say how long a corpus will take there.

    The model runs as in a worker, in a process of its own: no server is needed, and nothing is stored. Measure on a
    machine that does nothing else.
    """
    entry = registry().get(name)
    order = _order(entry, device, parameters_of(param or []))
    count = rows or ROWS[entry.task]
    if source:
        options = ReadOptions(smiles_column=smiles_column, format=form)
        sample = benching.draw(source, entry.task, count, options)
    else:
        sample = benching.built_in(entry.task, count)
    measured = benching.measure(order, sample)
    told = sample.rows if source else MANY
    seconds = benching.forecast(measured, sample, told)
    if as_json:
        print_json(measured.model_dump(mode="json") | {"forecast": {"rows": told, "seconds": seconds}})
        return
    console = display.console()
    console.print(display.fields(_figures(order, sample, measured)))
    if measured.sizes:
        table = [(f"{one.least:,} to {one.most:,}", f"{one.tokens_per_second:,.0f}") for one in measured.sizes]
        console.print()
        console.print(display.records(["padded tokens a micro-batch", "tokens/s"], table, right=["tokens/s"]))
    which = ", ".join(Path(one).name for one in source) if source else f"{MANY:,} rows like these"
    rows_told = f" ({told:,} rows)" if source else ""
    console.print(f"\n[bold]{display.plain(which)}[/bold]{rows_told}: {display.span(seconds)} on one such device")


def _order(entry: ModelEntry, device: str, given: dict[str, Any]) -> Order:
    settings = load_settings()
    parameters = merge_parameters(entry, given)
    return Order(
        entry=pin(entry).entry,
        parameters=parameters,
        samples=samples_of(entry.task, parameters),
        device=device,
        slots=settings.slots,
        threads=settings.torch_threads,
        processes=settings.prepare_processes,
    )


def _figures(order: Order, sample: Sample, done: Measured) -> dict[str, RenderableType]:
    entry = order.entry
    each = f", {order.samples:,} samples each" if order.samples > 1 else ""
    rows = sample.built_in or f"drawn from {sample.rows:,}"
    beside = f", {done.processes} preparing beside it" if done.processes else ""
    budget = "rows are decoded continuously, not in micro-batches"
    if done.budget is not None:
        budget = f"{done.budget:,} padded tokens a micro-batch (the registry allows {entry.limits.token_budget:,})"
    alone = display.rate(done.device_rows_per_second)
    figures: dict[str, RenderableType] = {
        "model": Text.assemble((entry.name, "bold"), f"  engine {entry.engine.value}, {entry.precision}"),
        "device": f"{done.device}{beside}",
        "rows": f"{len(sample.contents):,} ({rows}){each}",
        "rate": f"{display.rate(done.rows_per_second)} the whole way"
        + (f", {alone} on the device alone" if alone else ""),
        "budget": budget,
        "padding": f"{done.padding_waste:.1%} of what is computed, beside {done.tokens:,} real tokens",
        "fill": f"{done.fill:.0%} of the room, in {done.micro_batches:,} micro-batches",
        "device busy": f"{done.busy:.0%} of the time; a row waits {done.queue_delay:.2g} s for it",
        "memory": f"{done.peak_memory / _MIB:,.0f} MiB at most, all processes",
        "loading": f"{done.load_seconds:.1f} s",
        "outcomes": f"{done.succeeded:,} succeeded, {done.failed:,} failed",
    }
    if done.device_memory is not None:
        figures["device memory"] = f"{done.device_memory / _MIB:,.0f} MiB at most"
    if done.halved:
        figures["halved"] = f"{done.halved:,} micro-batches that failed"
    for failure in done.failures:
        figures[f"  {failure.code.value}"] = f"{failure.rows:,}; the first: {display.plain(failure.first)}"
    return figures
