"""The subcommand `sciqueue train summarizer`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from workers.training.base import find_base, task_prefix
from workers.training.options import (
    Computed,
    Epochs,
    LearningRate,
    Licence,
    Name,
    Output,
    Place,
    Queue,
    SaveMinutes,
    Threads,
)
from workers.training.paper_source import ABSTRACT, find_papers
from workers.training.preparing import Precision, make, model_name, take_device
from workers.training.queueing import enqueue
from workers.training.summarizer_recipe import SummarizerRecipe

if TYPE_CHECKING:
    from workers.training.describing import Run
    from workers.training.product import Product


def summarizer(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="aclsum:train, aclsum:val, aclsum:test, or JSONL as 'sciqueue submit' reads it (title, abstract, "
            "text or sections); .gz too.",
        ),
    ],
    base: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="CHECKPOINT",
            help="The encoder-decoder to begin with: a folder (safetensors, fast tokenizer), or a hub's repository. "
            "None comes with sciqueue.",
        ),
    ],
    output: Output,
    revision: Annotated[
        str | None, typer.Option(help="The hub's commit, tag or branch; unset: main.", show_default=False)
    ] = None,
    name: Name = None,
    target: Annotated[
        str,
        typer.Option(
            help="What to write: the abstract, or a column of the data (aclsum: challenge, approach, outcome, "
            "or experts for all three). It is taken out of what the model reads."
        ),
    ] = ABSTRACT,
    epochs: Epochs = 3.0,
    source_tokens: Annotated[
        int, typer.Option(min=1, help="Read at once. Of a longer paper each section's first sentences, in proportion.")
    ] = 1024,
    target_tokens: Annotated[
        int, typer.Option(min=1, help="Written at most; a longer target ends with its last sentence that fits.")
    ] = 256,
    prefix: Annotated[
        str | None,
        typer.Option(
            help="What each text begins with, here and in jobs; unset: 'summarize: ' for T5 and its kin, else nothing.",
            show_default=False,
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Papers a step.")] = 8,
    learning_rate: LearningRate = 2e-5,
    weight_decay: Annotated[float, typer.Option(min=0.0, help="AdamW's.")] = 0.01,
    precision: Computed = Precision.FP32,
    seed: Annotated[int, typer.Option(min=0, help="Of the papers held out, their order and dropout.")] = 0,
    limit: Annotated[
        int | None, typer.Option(min=2, help="Only the first papers of the data.", show_default=False)
    ] = None,
    licence: Licence = "",
    device: Place = "cpu",
    threads: Threads = None,
    save_minutes: SaveMinutes = 15.0,
    queue: Queue = False,
) -> None:
    """Train a summarizer: fine-tune an encoder-decoder on papers and their abstracts, or another text of each.

    The folder gets the model, its card with ROUGE on papers that were held out (beside their first three sentences),
    and its registry entry, which also joins this machine's registry. A run that was stopped or killed goes on from its
    last checkpoint when the same command is given again.
    """
    name = model_name(output, name)
    if queue:
        enqueue(context, output, name)
        return
    take_device(device, threads)
    source = find_papers(data, target, licence)
    begin = find_base(base, revision)
    known_prefix = task_prefix(begin)
    recipe = SummarizerRecipe(
        data=source.name,
        sha256=source.sha256(),
        target=target,
        base=begin.name,
        revision=begin.revision,
        limit=limit,
        epochs=epochs,
        source_tokens=source_tokens,
        target_tokens=target_tokens,
        prefix=known_prefix if prefix is None else prefix,
        batch=batch,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        precision=precision.value,
        seed=seed,
    )

    def trained(product: Product) -> Run:
        from workers.training.summarizer import train

        return train(recipe, source, begin, product, save_seconds=60.0 * save_minutes)

    make(output, name, recipe, trained)
