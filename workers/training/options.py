"""Options that all commands which train have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workers.training.preparing import Precision
from workers.training.recipe import HEAD

Output = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the run and the model are kept.")]
Name = Annotated[str | None, typer.Option(help="The model's name; unset: the folder's.", show_default=False)]
Epochs = Annotated[float, typer.Option(min=0.0001, help="Passes over the data; the one setting that may change.")]
Width = Annotated[int, typer.Option(min=HEAD, help=f"A multiple of {HEAD}.")]
Layers = Annotated[int, typer.Option(min=1, help="Layers.")]
LearningRate = Annotated[float, typer.Option(help="The highest; reached soon, and falling to 0 in the second half.")]
Computed = Annotated[Precision, typer.Option(help="bf16 needs a processor that computes in it.")]
Licence = Annotated[str, typer.Option(help="The data's, for the card; known for named data.", show_default=False)]
Place = Annotated[str, typer.Option(help="'cpu', or a GPU by number or UUID.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; unset: the cores.", show_default=False)]
Queue = Annotated[
    bool,
    typer.Option(
        "--queue", help="Submit the run as a job, on the device of the 'sciqueue worker --tasks train' that takes it."
    ),
]
SaveMinutes = Annotated[float, typer.Option(min=0.0, help="How often a checkpoint is saved.")]
