"""What the commands share: the forms of their arguments, the database they open, and how data leave as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from schemas.database import Database
from schemas.endpoints import open_database
from schemas.errors import UsageError
from schemas.registry import Registry, load_registry
from schemas.settings import load_settings

# The panels of `sciqueue --help`, so that every package's commands find their place.
JOBS = "Jobs"
RESULTS = "Results and models"

JobNumber = Annotated[
    int, typer.Argument(metavar="JOB", min=1, help="The job's number, as 'sciqueue jobs' shows it.", show_default=False)
]
ModelName = Annotated[
    str, typer.Argument(metavar="NAME", help="The model's, as 'sciqueue models' lists it.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@contextmanager
def opened(*, timeout: float = 10.0) -> Iterator[Database]:
    """The database that the settings name, for the length of a command."""
    with open_database(load_settings(), timeout=timeout) as database:
        yield database


def registry() -> Registry:
    """The built-in models and the lab's own."""
    return load_registry(*load_settings().registry_files)


def print_json(data: Any) -> None:
    """One JSON document on standard output; dates and the like as text."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def parameters_of(given: list[str]) -> dict[str, Any]:
    """`key=value` pairs; values are JSON where they can be, else text.

    Raises:
        UsageError: one is no such pair.
    """
    parameters: dict[str, Any] = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise UsageError(f"--param {pair}: give it as KEY=VALUE")
        try:
            parameters[key] = json.loads(value)
        except ValueError:
            parameters[key] = value
    return parameters
