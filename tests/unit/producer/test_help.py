from __future__ import annotations

import re
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from schemas.command import build

APP = build()


def _commands(group: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every command that is registered, those in groups of their own too."""
    found: dict[tuple[str, ...], Any] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= _commands(command, (*path, name))
        elif not command.hidden:
            found[*path, name] = command
    return found


COMMANDS = _commands(typer.main.get_command(APP))
NAMES = [pytest.param(path, id=" ".join(path)) for path in COMMANDS]


def test_the_producers_commands_are_there() -> None:
    words = {path[0] for path in COMMANDS}
    assert words >= {"submit", "jobs", "status", "watch", "export", "models"}
    assert words >= {"pause", "resume", "cancel", "retry", "delete"}


@pytest.mark.parametrize("path", NAMES)
def test_a_command_says_in_a_sentence_what_it_does(path: tuple[str, ...]) -> None:
    sentence = (COMMANDS[path].help or "").partition("\n\n")[0]
    assert re.fullmatch(r"[A-Z].{9,}\.", sentence, re.DOTALL), sentence


@pytest.mark.parametrize("path", NAMES)
def test_a_command_shows_a_few_calls_of_itself(path: tuple[str, ...]) -> None:
    calls = [line for line in (COMMANDS[path].epilog or "").splitlines()[1:] if line.strip()]
    assert 1 <= len(calls) <= 4
    assert all("sciqueue " + " ".join(path) in call for call in calls)


@pytest.mark.parametrize("path", NAMES)
def test_every_option_is_explained(path: tuple[str, ...]) -> None:
    visible = [one for one in COMMANDS[path].params if not getattr(one, "hidden", False)]
    assert all(one.help for one in visible), [one.name for one in visible if not one.help]


@pytest.mark.parametrize("path", NAMES)
def test_help_is_printed_with_its_examples(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(APP, [*path, "--help"], env={"COLUMNS": "100"})
    assert shown.exit_code == 0
    assert "Examples" in shown.stdout
    assert "sciqueue " + " ".join(path) in shown.stdout.partition("Examples")[2]
