"""The subcommands `sciqueue train …`."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.command import examples
from workers.training.options import (
    Computed,
    Epochs,
    Layers,
    LearningRate,
    Licence,
    Name,
    Output,
    Place,
    Queue,
    SaveMinutes,
    Threads,
    Width,
)
from workers.training.preparing import Precision, check_width, make, model_name, take_device
from workers.training.property_command import property_model
from workers.training.queueing import enqueue
from workers.training.recipe import Recipe
from workers.training.smiles_source import find_source
from workers.training.summarizer_command import summarizer

if TYPE_CHECKING:
    from workers.training.describing import Run
    from workers.training.product import Product

TRAINING = "Training"


def register(app: typer.Typer) -> None:
    """Join the `sciqueue` command."""
    group = typer.Typer(no_args_is_help=True, help="Train a model on data of your own and add it to the registry.")
    group.command(
        epilog=examples(
            "sciqueue train generator moses:train -o smiles-gpt # run it again to go on after a stop",
            "sciqueue train generator library.csv -o ours --epochs 20 --layers 3",
            "sciqueue train generator moses:train -o trial --limit 20000 --no-compile",
        )
    )(generator)
    group.command(
        "property",
        epilog=examples(
            "sciqueue train property tox21.csv -o tox21 --pretrain moses:train --pretrain-limit 200000",
            "sciqueue train property ours.csv -o ours --smiles structure --task active --epochs 40",
            "sciqueue train property solubility.csv -o logs --pretrain tox21/pretrained # an encoder made before",
        ),
    )(property_model)
    group.command(
        epilog=examples(
            "sciqueue train summarizer papers.jsonl --from flan-t5-base/ -o ours # run it again to go on after a stop",
            "sciqueue train summarizer papers.jsonl --from google/flan-t5-base -o ours --device 0 --precision bf16",
            "sciqueue train summarizer aclsum:train --from flan-t5-base/ -o experts --target experts",
        )
    )(summarizer)
    app.add_typer(group, name="train", rich_help_panel=TRAINING)


def generator(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="moses:train, moses:test, or a file of SMILES: CSV, TSV or lines; .gz too."
        ),
    ],
    output: Output,
    name: Name = None,
    epochs: Epochs = 1.0,
    width: Width = 256,
    layers: Layers = 4,
    longest: Annotated[int, typer.Option(min=1, help="Tokens; longer rows are left out.")] = 126,
    batch: Annotated[int, typer.Option(min=1, help="Molecules a step.")] = 128,
    learning_rate: LearningRate = 2e-3,
    precision: Computed = Precision.FP32,
    seed: Annotated[int, typer.Option(min=0, help="Of the weights, the rows held out and the order.")] = 0,
    limit: Annotated[
        int | None, typer.Option(min=2, help="Only the first rows of the data.", show_default=False)
    ] = None,
    licence: Licence = "",
    device: Place = "cpu",
    threads: Threads = None,
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Faster after some minutes; needs a C++ compiler.")
    ] = True,
    save_minutes: SaveMinutes = 3.0,
    queue: Queue = False,
) -> None:
    """Train a generator of molecules: a causal language model over SMILES.

    The folder gets the model, its card and its registry entry, which also joins this machine's registry. A run that was
    stopped or killed goes on from its last checkpoint when the same command is given again.
    """
    check_width(width)
    name = model_name(output, name)
    if queue:
        enqueue(context, output, name)
        return
    place = take_device(device, threads)
    source = find_source(data, licence)
    recipe = Recipe(
        data=source.name,
        sha256=source.sha256(),
        limit=limit,
        epochs=epochs,
        width=width,
        layers=layers,
        longest=longest,
        batch=batch,
        learning_rate=learning_rate,
        precision=precision.value,
        seed=seed,
    )
    if compiled and place.torch == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is None:
        print("no C++ compiler (g++) found, so nothing is compiled: training takes about twice as long")
        compiled = False

    def trained(product: Product) -> Run:
        from workers.training.generator import train

        return train(recipe, source, product, compiled=compiled, save_seconds=60.0 * save_minutes)

    make(output, name, recipe, trained)
