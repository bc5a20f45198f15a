"""The producer's subcommands, one small file for each group of them."""

from __future__ import annotations

import typer

from producer.commands import (
    control,
    demo,
    evaluate,
    export,
    fleet,
    generate,
    inspect,
    models,
    processes,
    sql,
    submit,
    top,
)


def register(app: typer.Typer) -> None:
    """Join the `sciqueue` command, in the order in which its help lists them."""
    for group in (submit, generate, inspect, top, control, export, evaluate, sql, models, processes, fleet, demo):
        group.register(app)
