"""The subcommand `sciqueue compress`."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from schemas.errors import ModelUnavailable, UsageError
from schemas.files import write_whole
from schemas.registration import as_toml, register
from schemas.registry import ModelEntry, load_registry
from schemas.revision import revision_of
from schemas.settings import load_settings
from workers.compression import quantize
from workers.training.options import Epochs, Name, Output, SaveMinutes
from workers.training.preparing import model_name, take_device
from workers.training.product import Product
from workers.training.run_folder import held
from workers.training.smiles_source import find_source
from workers.weights import locate

if TYPE_CHECKING:
    from workers.compression.judge import Lost


def compress(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="The model to compress, as 'sciqueue models' lists it.")
    ],
    output: Output,
    int8: Annotated[bool, typer.Option("--int8", help="Linear layers in int8.")] = False,
    student_layers: Annotated[
        int | None,
        typer.Option(min=1, help="A student of so many layers, which learns from the model.", show_default=False),
    ] = None,
    epochs: Epochs = 5.0,
    learn_rows: Annotated[
        int, typer.Option(min=2, help="Rows that a student learns from, behind those to measure by.")
    ] = 20_000,
    save_minutes: SaveMinutes = 3.0,
    data: Annotated[
        str, typer.Option(help="What to measure by, and learn from: moses:train, moses:test, or a file of SMILES.")
    ] = "moses:test",
    rows: Annotated[int, typer.Option(min=2, help="Rows to measure by.")] = 1000,
    name: Name = None,
) -> None:
    """Make a smaller model of a registered classifier, and say what it gains and loses.

    The folder gets the model, its card and its registry entry, which also joins this machine's registry. The table at
    the end has the size on disk, the speed on this machine's CPU as 'sciqueue models bench' has it, and by how much the
    values differ. A student that was stopped or killed goes on when the same command is given again. Measure on a
    machine that does nothing else.
    """
    if int8 == (student_layers is not None):
        raise UsageError("say how to compress: --int8, or --student-layers")
    name = model_name(output, name)
    settings = load_settings()
    before = load_registry(*settings.registry_files).get(model)
    if name == before.name:
        raise UsageError(f"'{name}' is the model to compress; give --name or another folder")
    quantize.check(before)
    take_device("cpu", settings.torch_threads)
    source = find_source(data)
    smiles = list(source.rows(rows))

    from workers.compression import judge

    if student_layers is None:
        output.mkdir(parents=True, exist_ok=True)
        after = quantize.quantize(before, name, output / "model")
    else:
        from workers.compression.student import StudentRecipe, distill

        recipe = StudentRecipe(
            teacher=before.name,
            revision=revision_of(before),
            data=data,
            sha256=source.sha256(),
            skipped=rows,
            rows=learn_rows,
            layers=student_layers,
            epochs=epochs,
        )
        with held(output, recipe):
            learnt = list(islice(source.rows(rows + learn_rows), rows, None))
            after = distill(recipe, before, learnt, Product(output, name), save_seconds=60.0 * save_minutes)
    lost = judge.compare(before, after, smiles)
    file = register(after, settings.models_folder)
    measured = {entry.name: _measured(entry, source.file, rows) for entry in (before, after)}
    _describe(output, before, after, measured, lost, data)
    # What is no terminal gets the table in its full width.
    Console(width=None if sys.stdout.isatty() else 10_000, highlight=False).print(_table(measured, lost))
    print(f"model '{name}' is in {output}, and registered by {file}")


def _measured(entry: ModelEntry, data: Path, rows: int) -> dict[str, Any]:
    """Size on disk in bytes, and rows a second on the CPU, by a process of its own that imports torch afresh."""
    call = ["models", "bench", entry.name, "--json", "--input", str(data), "--rows", str(rows)]
    ended = subprocess.run(
        [sys.executable, "-m", "schemas.command", *call], stdout=subprocess.PIPE, text=True, check=False
    )
    if ended.returncode:
        raise ModelUnavailable(f"model '{entry.name}' could not be measured")
    figures = json.loads(ended.stdout)
    size = sum(file.stat().st_size for file in locate(entry.weights).rglob("model*.safetensors"))
    return {
        "bytes": size,
        "rows_per_second": figures["rows_per_second"],
        "device_rows_per_second": figures["device_rows_per_second"],
    }


def _table(measured: dict[str, dict[str, Any]], lost: Lost) -> Table:
    table = Table("model", box=None, header_style="bold")
    for heading in ("MB of weights", "rows/s", "rows/s, device alone", "mean difference", "largest", "lowest Spearman"):
        table.add_column(heading, justify="right")
    quality = [f"{lost.mean:.2g}", f"{lost.largest:.2g}", "" if lost.lowest is None else f"{lost.lowest:.4f}"]
    for (name, one), said in zip(measured.items(), (["", "", ""], quality), strict=True):
        alone = one["device_rows_per_second"]
        table.add_row(
            name,
            f"{one['bytes'] / 1e6:.2f}",
            f"{one['rows_per_second']:,.0f}",
            f"{alone:,.0f}" if alone else "",
            *said,
        )
    return table


def _describe(
    folder: Path,
    before: ModelEntry,
    after: ModelEntry,
    measured: dict[str, dict[str, Any]],
    lost: Lost,
    data: str,
) -> None:
    """Write the card, as `card.json` and as `README.md`, and the entry, as `models.toml`."""
    revision = revision_of(before)
    card = {
        "model": after.name,
        "made_of": {"model": before.name, "revision": revision},
        "precision": after.precision,
        "data": data,
        "measured": measured,
        "lost": asdict(lost),
    }
    old, new = measured.values()
    text = f"""# {after.name}

`{before.name}` ({revision}) made smaller: {after.description} For sciqueue's engine
`{after.engine.value}`. Licence: {after.licence or "not stated"}.

| | {before.name} | {after.name} |
|---|---|---|
| MB of weights | {old["bytes"] / 1e6:.2f} | {new["bytes"] / 1e6:.2f} |
| rows/s on the CPU | {old["rows_per_second"]:,.0f} | {new["rows_per_second"]:,.0f} |

On {lost.rows:,} molecules of {data} its values differ by {lost.mean:.2g} on average, by {lost.largest:.2g} at most.
"""
    write_whole(folder / "card.json", json.dumps(card, indent=1) + "\n")
    write_whole(folder / "README.md", text)
    write_whole(folder / "models.toml", as_toml(after))
