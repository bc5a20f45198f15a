"""The manifests of docker/kubernetes: their commands exist, and what KEDA asks PostgreSQL is the work that is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
import yaml

from producer.client import Client
from schemas import costs
from schemas.command import build
from schemas.database import Database
from schemas.settings import Settings

FOLDER = Path(__file__).parents[2] / "docker" / "kubernetes"
PARTS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "sciqueue.yaml").read_text())["items"]
PODS = {part["metadata"]["name"]: part["spec"]["template"]["spec"] for part in PARTS if "template" in part["spec"]}
SCALED = list(yaml.safe_load_all((FOLDER / "keda.yaml").read_text()))[1]


def test_each_container_runs_a_command_with_options_that_it_has_and_without_rights() -> None:
    commands: dict[str, Any] = typer.main.get_command(build()).commands
    assert len(PODS) == 4
    for pod in PODS.values():
        assert pod["securityContext"]["runAsNonRoot"]
        [container] = pod["containers"]
        command, *arguments = container["args"]
        options = {option for parameter in commands[command].params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("--")} <= options
        settings = {variable["name"].removeprefix("SCIQUEUE_").lower() for variable in container["env"]}
        assert settings <= set(Settings.model_fields)


def test_a_worker_has_longer_to_end_than_it_drains() -> None:
    assert PODS["sciqueue-worker"]["terminationGracePeriodSeconds"] > Settings().drain_seconds


def test_keda_asks_for_the_seconds_that_are_left_and_for_one_worker_where_nobody_knows(
    database_url: str, database: Database
) -> None:
    assert SCALED["spec"]["scaleTargetRef"]["name"] in PODS
    [trigger] = SCALED["spec"]["triggers"]
    target = float(trigger["metadata"]["targetQueryValue"])
    assert _left(database, trigger["metadata"]["query"]) == 0
    with Client(database_url) as client:
        client.submit(["CCO", "CCN", "C1CC"], task="predict", model="fake-predict", name="three")
    assert _left(database, trigger["metadata"]["query"]) == target
    costs.remember(database, 1, "cpu", {}, row_seconds=100.0)
    assert _left(database, trigger["metadata"]["query"]) == 300.0


def _left(database: Database, query: str) -> float:
    with database.transaction() as connection:
        [row] = connection.execute(query.encode()).fetchall()
    [left] = row.values()
    return float(left)
