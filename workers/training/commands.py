"""The subcommands `sciqueue train …`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from schemas.command import examples
from schemas.errors import UsageError
from schemas.registration import register as register_entry
from schemas.settings import load_settings
from workers.training.preparing import Precision, model_name, take_device
from workers.training.property_command import property_model
from workers.training.recipe import HEAD, Recipe
from workers.training.run_folder import held
from workers.training.smiles_source import find_source
from workers.training.summarizer_command import summarizer

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
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="moses:train, moses:test, or a file of SMILES: CSV, TSV or lines; .gz too."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the run and the model are kept.")
    ],
    name: Annotated[str | None, typer.Option(help="The model's name; unset: the folder's.", show_default=False)] = None,
    epochs: Annotated[
        float, typer.Option(min=0.0001, help="Passes over the data; the one setting that may change.")
    ] = 1.0,
    width: Annotated[int, typer.Option(min=HEAD, help=f"A multiple of {HEAD}.")] = 256,
    layers: Annotated[int, typer.Option(min=1, help="Layers.")] = 4,
    longest: Annotated[int, typer.Option(min=1, help="Tokens; longer rows are left out.")] = 126,
    batch: Annotated[int, typer.Option(min=1, help="Molecules a step.")] = 128,
    learning_rate: Annotated[
        float, typer.Option(help="The highest; reached soon, and falling to 0 in the second half.")
    ] = 2e-3,
    precision: Annotated[Precision, typer.Option(help="bf16 needs a processor that computes in it.")] = Precision.FP32,
    seed: Annotated[int, typer.Option(min=0, help="Of the weights, the rows held out and the order.")] = 0,
    limit: Annotated[
        int | None, typer.Option(min=2, help="Only the first rows of the data.", show_default=False)
    ] = None,
    licence: Annotated[
        str, typer.Option(help="The data's, for the card; known for named data.", show_default=False)
    ] = "",
    device: Annotated[str, typer.Option(help="'cpu', or a GPU by number or UUID.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; unset: the cores.", show_default=False)
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Faster after some minutes; needs a C++ compiler.")
    ] = True,
    save_minutes: Annotated[float, typer.Option(min=0.0, help="How often a checkpoint is saved.")] = 3.0,
) -> None:
    """Train a generator of molecules: a causal language model over SMILES.

    The folder gets the model, its card and its registry entry, which also joins this machine's registry. A run that was
    stopped or killed goes on from its last checkpoint when the same command is given again.
    """
    if width % HEAD:
        raise UsageError(f"--width {width}: give a multiple of {HEAD}, the width of an attention head")
    name = model_name(output, name)
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

    with held(output, recipe):
        from workers.training.generator import train
        from workers.training.product import Product

        product = Product(output, name)
        about = train(recipe, source, product, compiled=compiled, save_seconds=60.0 * save_minutes)
        file = register_entry(about.entry(product), load_settings().models_folder)
    print(f"model '{name}' is trained, in {output}, and registered by {file}")
