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
FILES = [FOLDER / "compose.yaml", FOLDER / "compose.monitoring.yaml"]
PARTS = [yaml.safe_load(file.read_text()) for file in FILES]
SERVICES: dict[str, dict[str, Any]] = {name: one for part in PARTS for name, one in part["services"].items()}
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
    asked = set(re.findall(r"\$\{([A-Z_]+):\?\}", "".join(file.read_text() for file in FILES)))
    assert asked == set(given) == {"POSTGRES_PASSWORD", "BROKER_PASSWORD", "FLOWER_AUTH", "GRAFANA_PASSWORD"}
    assert "--requirepass" in SERVICES["broker"]["command"]


def test_a_worker_has_longer_to_end_than_it_drains() -> None:
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings().drain_seconds


def test_each_image_is_pinned_and_what_is_mounted_from_here_is_here_and_cannot_be_written() -> None:
    for name, service in SERVICES.items():
        assert re.fullmatch(r"sciqueue:cpu|.+:v?\d+\.\d+[\w.-]*", service["image"]), name
        for source, target, *mode in (volume.split(":") for volume in service.get("volumes", [])):
            if source.startswith("."):
                assert (FOLDER / source).exists() and mode == ["ro"], (name, target)
            else:
                assert any(source in part.get("volumes", {}) for part in PARTS), (name, source)


def test_prometheus_scrapes_each_process_that_compose_runs_and_reads_the_rules() -> None:
    config = yaml.safe_load((FOLDER / "monitoring" / "prometheus.yml").read_text())
    found = [found for job in config["scrape_configs"] for found in job["dns_sd_configs"]]
    scraped = {(name, found["port"]) for found in found for name in found["names"]}
    first = {
        name: int(service["command"][-1]) for name, service in OURS.items() if "--metrics-port" in service["command"]
    }
    assert scraped == {*first.items(), ("worker", first["worker"] + 1)}  # the one for suspects
    mounted = {Path(volume.split(":")[1]).name for volume in SERVICES["prometheus"]["volumes"]}
    assert {"prometheus.yml", *config["rule_files"]} <= mounted


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    provisioned = FOLDER / "monitoring" / "grafana" / "provisioning"
    [source] = yaml.safe_load((provisioned / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090" and "prometheus" in SERVICES
    [provider] = yaml.safe_load((provisioned / "dashboards" / "sciqueue.yaml").read_text())["providers"]
    [dashboards] = [v for v in SERVICES["grafana"]["volumes"] if v.split(":")[1] == provider["options"]["path"]]
    assert list((FOLDER / dashboards.split(":")[0]).glob("*.json"))


def test_each_alert_says_what_is_wrong_and_what_to_do_and_the_guide_does() -> None:
    [group] = yaml.safe_load((FOLDER / "monitoring" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]:
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
    tried = (FOLDER / "monitoring" / "alerts.test.yml").read_text()  # by promtool, where that is at hand
    assert {rule["alert"] for rule in group["rules"]} == set(re.findall(r'alertname="(\w+)", alertstate', tried))
    watch = (FOLDER / "README.md").read_text().partition("## Watch\n")[2].partition("\n## ")[0]
    told = re.findall(r"^\| ([A-Z]\w+) \| [^|]+ \| [^|]+ \|$", watch, re.M)
    assert [rule["alert"] for rule in group["rules"]] == told
