"""The files of docker/ against what sciqueue really has: settings, commands, and no service that anybody may use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from schemas.command import build
from schemas.settings import Settings

FOLDER = Path(__file__).parents[2] / "docker"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("sciqueue:")}
COMMANDS: dict[str, Any] = typer.main.get_command(build()).commands


def test_each_setting_that_is_named_exists() -> None:
    texts = "".join(path.read_text() for path in FOLDER.iterdir() if path.is_file())
    named = set(re.findall(r"SCIQUEUE_([A-Z_]+)", texts))
    known = {name.upper() for name in Settings.model_fields}
    assert {"DATABASE_URL", "BROKER_URL"} <= named
    assert named <= known, named - known


@pytest.mark.parametrize("name", OURS)
def test_each_service_runs_a_command_with_options_that_it_has(name: str) -> None:
    command, *arguments = OURS[name]["command"]
    options = {option for parameter in COMMANDS[command].params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= options


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_says_whether_it_is_healthy_and_ports_are_this_machines_alone(name: str) -> None:
    service = SERVICES[name]
    in_image = name == "worker"  # the Dockerfile's own
    assert "healthcheck" in service or in_image
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_each_password_must_be_given_and_the_example_gives_it() -> None:
    given = dict(line.split("=", 1) for line in (FOLDER / "example.env").read_text().split())
    asked = set(re.findall(r"\$\{([A-Z_]+):\?\}", (FOLDER / "compose.yaml").read_text()))
    assert asked == set(given) == {"POSTGRES_PASSWORD", "BROKER_PASSWORD", "FLOWER_AUTH"}
    assert "--requirepass" in SERVICES["broker"]["command"]


def test_a_worker_has_longer_to_end_than_it_drains() -> None:
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings().drain_seconds
