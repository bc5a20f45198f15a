"""`sciqueue doctor`: every package says what it finds, good or bad, and what to do about the bad."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from schemas.settings import Settings, load_settings

GROUP = "sciqueue.checks"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `advice` says what to do when it is not `ok`."""

    name: str
    ok: bool
    found: str
    advice: str = ""


Checks = Callable[[Settings], Iterator[Check]]


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Check servers, versions, models and devices, and say what to do. Exit code 1 if something is wrong."""
    settings = load_settings()
    found: list[Check] = []
    console = Console(highlight=False)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        checks: Checks = entry.load()
        for check in checks(settings):
            found.append(check)
            if not as_json:
                _print(console, check)
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in found], indent=2))
    raise typer.Exit(0 if all(check.ok for check in found) else 1)


def _print(console: Console, check: Check) -> None:
    sign = "[green]ok[/green]   " if check.ok else "[red]wrong[/red]"
    console.print(f"{sign} [bold]{check.name}[/bold]: {escape(check.found)}", soft_wrap=True)
    if not check.ok and check.advice:
        console.print(f"      → {escape(check.advice)}", soft_wrap=True)
