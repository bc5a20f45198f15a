"""A training run submitted as a job: the same command, for a worker to run."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import typer

from schemas.endpoints import open_database
from schemas.ledger import trainings
from schemas.settings import load_settings
from workers.training.recipe import call

_OURS = {"data", "output", "queue", "device"}  # said otherwise, or for the worker to say


def enqueue(context: typer.Context, output: Path, model: str) -> None:
    """Submit the command that `context` is of, as it was given, and say how to follow it."""
    kind = str(context.command.name)
    parameters = {
        "call": call(kind, str(context.params["data"]), str(output), _given(context)),
        "directory": str(Path.cwd()),
        "folder": str(output.resolve()),
    }
    with open_database(load_settings()) as database:
        job, new = trainings.submit(database, kind, model, parameters)
    print(
        f"job {job} {'makes' if new else 'already makes'} model '{model}'; 'sciqueue watch {job}' follows it; "
        "'sciqueue worker --tasks train' takes such jobs"
    )


def _given(context: typer.Context) -> dict[str, Any]:
    """The options that were given, by their names on the command line."""
    options: dict[str, Any] = {}
    for option in context.command.params:
        name = str(option.name)
        source = context.get_parameter_source(name)
        if name in _OURS or source is None or source.name != "COMMANDLINE":
            continue
        value = context.params[name]
        if value is False and option.secondary_opts:
            options[option.secondary_opts[0]] = True
        elif isinstance(value, list | tuple):
            options[option.opts[0]] = tuple(value)
        else:
            options[option.opts[0]] = value.value if isinstance(value, Enum) else value
    return options
