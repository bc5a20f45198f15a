"""The subcommand `sciqueue train property`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import UsageError
from workers.training.options import Computed, Epochs, Layers, Name, Output, Place, Queue, SaveMinutes, Threads, Width
from workers.training.preparing import Precision, check_width, make, model_name, take_device
from workers.training.property_recipe import PropertyRecipe
from workers.training.queueing import enqueue
from workers.training.smiles_source import SmilesSource, find_source

if TYPE_CHECKING:
    from workers.training.describing import Run
    from workers.training.product import Product


def property_model(
    context: typer.Context,
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="A CSV or TSV with SMILES and one column a task; .gz too.")
    ],
    output: Output,
    name: Name = None,
    smiles: Annotated[str, typer.Option(metavar="COLUMN", help="The column of SMILES, in whatever case.")] = "smiles",
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN", help="A column of labels; may be repeated. Unset: all of numbers.", show_default=False
        ),
    ] = None,
    pretrain: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="Pretrain on moses:train, moses:test or a file of SMILES first; or the folder of an encoder that was.",
            show_default=False,
        ),
    ] = None,
    pretrain_limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first rows of what to pretrain on.", show_default=False)
    ] = None,
    pretrain_epochs: Annotated[float, typer.Option(min=0.0001, help="Passes over what to pretrain on.")] = 1.0,
    contrast: Annotated[
        bool, typer.Option("--contrast/--no-contrast", help="Pretrain by two random SMILES of a molecule, too.")
    ] = False,
    temperature: Annotated[float, typer.Option(min=0.001, help="Of the contrast.")] = 0.1,
    epochs: Epochs = 20.0,
    width: Width = 256,
    layers: Layers = 4,
    longest: Annotated[int, typer.Option(min=1, help="Tokens; longer molecules are left out.")] = 254,
    batch: Annotated[int, typer.Option(min=1, help="Molecules a step.")] = 32,
    pretrain_batch: Annotated[int, typer.Option(min=2, help="Molecules a step of pretraining.")] = 128,
    learning_rate: Annotated[float, typer.Option(help="The highest.")] = 5e-4,
    pretrain_learning_rate: Annotated[float, typer.Option(help="The highest, of pretraining.")] = 1e-3,
    dropout: Annotated[float, typer.Option(min=0.0, max=0.9, help="Share of values dropped in training.")] = 0.1,
    augment: Annotated[
        bool, typer.Option("--augment/--no-augment", help="Write a molecule from another atom each time.")
    ] = True,
    precision: Computed = Precision.FP32,
    seed: Annotated[int, typer.Option(min=0, help="Of the weights and the order.")] = 0,
    members: Annotated[
        int, typer.Option(min=1, help="Fine-tuned by as many seeds, from --seed on; the model says their mean.")
    ] = 1,
    licence: Annotated[str, typer.Option(help="The data's, for the card.", show_default=False)] = "",
    device: Place = "cpu",
    threads: Threads = None,
    save_minutes: SaveMinutes = 3.0,
    queue: Queue = False,
) -> None:
    """Train a property model: an encoder over SMILES, with one output for each column of labels.

    Empty cells are labels that are missing. Columns of 0 and 1 alone become probabilities, others values; a model has
    one kind. Molecules are split by scaffold: eight tenths to learn from, one to choose the best step and calibrate by,
    one to test on, which is what `sciqueue evaluate` tests on. The folder gets the model, its card and its registry
    entry, which also joins this machine's registry. A run that was stopped or killed goes on from its last checkpoint
    when the same command is given again.
    """
    check_width(width)
    name = model_name(output, name)
    if queue:
        enqueue(context, output, name)
        return
    take_device(device, threads)
    table = SmilesSource(str(data), data.resolve())
    unlabelled, unlabelled_sha256 = _pretrain_source(pretrain)
    recipe = PropertyRecipe(
        data=str(data),
        sha256=table.sha256(),
        smiles=smiles,
        tasks=tuple(task or ()),
        epochs=epochs,
        pretrain=pretrain,
        pretrain_sha256=unlabelled_sha256,
        pretrain_limit=pretrain_limit,
        pretrain_epochs=pretrain_epochs,
        contrast=contrast,
        temperature=temperature,
        width=width,
        layers=layers,
        longest=longest,
        batch=batch,
        pretrain_batch=pretrain_batch,
        learning_rate=learning_rate,
        pretrain_learning_rate=pretrain_learning_rate,
        dropout=dropout,
        augment=augment,
        precision=precision.value,
        seed=seed,
        members=members,
    )

    def trained(product: Product) -> Run:
        from workers.training.labelled import read_labelled
        from workers.training.property import train

        known = read_labelled(table.file, smiles, recipe.tasks)
        return train(recipe, known, unlabelled, licence, product, save_seconds=60.0 * save_minutes)

    make(output, name, recipe, trained)


def _pretrain_source(what: str | None) -> tuple[SmilesSource | Path | None, str | None]:
    """What `--pretrain` means, and its hash: that of the file of SMILES, or of the encoder's weights."""
    if what is None:
        return None, None
    folder = Path(what)
    if not folder.is_dir():
        source = find_source(what)
        return source, source.sha256()
    folder = folder / "model" if (folder / "model").is_dir() else folder
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise UsageError(f"--pretrain {what}: the folder holds no model.safetensors")
    return folder, hashlib.sha256(weights.read_bytes()).hexdigest()
