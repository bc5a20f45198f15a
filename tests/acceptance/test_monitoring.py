"""Whatever docker/monitoring names is told by real dispatchers and workers, and whatever they tell is explained."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from producer.servers.endpoint import free_port
from schemas.items import Task
from tests.acceptance.lab import SCIQUEUE, Lab, lab, until
from tests.scraping import scrape

FOLDER = Path(__file__).parents[2] / "docker" / "monitoring"
SIMULATED = Path(__file__).parents[1] / "simulated"
ADDED = {"instance", "job"}  # labels that Prometheus adds to all
NAME = re.compile(r"\bsciqueue_\w+")

Told = dict[str, set[str]]  # the labels of each metric, by its name


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Of a lab at work, where a row has failed and a worker has died; with a second dispatcher and a GPU's worker."""
    slow = tmp_path_factory.mktemp("told") / "slow.csv"
    slow.write_text("smiles\n" + "".join("CCO\n" if row else "N\n" for row in range(60_000)))
    port = free_port()
    with lab(metrics_port=str(port)) as site, _dispatcher(site) as second, _gpu_worker(site) as gpu:
        site.command(
            "submit", str(slow), "--model", "fake-predict", *("--param", "ns_per_token=200000"), "--param", "poison=N"
        )
        next(one for one in site.workers() if "suspects" in " ".join(one.cmdline())).kill()
        site.query("UPDATE jobs SET step = 1 RETURNING id")  # as a training run would have it
        first = site.processes("dispatch")[0]
        first.suspend()  # the second one leads now, and hands batches out
        site.query("UPDATE workers SET reason = 'ended' RETURNING name")  # as of a GPU that computes no more
        wanted = {"sciqueue_outstanding_device_seconds", "sciqueue_job_failures", "sciqueue_recent_worker_deaths"}
        wanted |= {"sciqueue_dispatcher_messages_total"}
        found = until(lambda: (found := _told(port, second, gpu)).keys() >= wanted and found, 60.0, 0.5)
        first.resume()
        yield found


def _told(*ports: int) -> Told:
    told: Told = defaultdict(set)
    for port in ports:
        for sample in scrape(port):
            told[sample.name] |= set(sample.labels)
    return told


@contextmanager
def _dispatcher(site: Lab) -> Iterator[int]:
    port = free_port()
    with _serving([*SCIQUEUE, "dispatch", "--metrics-port", str(port)], site.environment, port):
        yield port


@contextmanager
def _gpu_worker(site: Lab) -> Iterator[int]:
    """It gets no work, since only a part of torch is simulated."""
    port = free_port()
    simulated = {"CUDA_VISIBLE_DEVICES": "GPU-a", "SIMULATED_GPUS": '[{"uuid": "GPU-a", "used": 1024, "busy": 50}]'}
    command = [sys.executable, "-m", "workers.process", "--name", "gpu0@here", "--device", "cuda", "--gpu", "GPU-a"]
    command += ["--slots", "1", "--queues", Task.TRAIN.queue, "--metrics-port", str(port), "--parent", str(os.getpid())]
    with _serving(command, {**site.environment, **simulated, "PYTHONPATH": str(SIMULATED)}, port):
        yield port


@contextmanager
def _serving(command: list[str], environment: dict[str, str], port: int) -> Iterator[None]:
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: process.poll() is not None or _answers(port), 60.0)
            yield
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    try:
        return bool(scrape(port))
    except OSError:
        return False


def test_alerts_name_only_metrics_and_labels_that_are_told(told: Told) -> None:
    [group] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]:
        texts = " ".join(rule["annotations"].values())
        _hold(told, rule["expr"], re.findall(r"\$labels\.(\w+)", texts), rule["alert"])


def test_the_dashboard_shows_only_what_is_told(told: Told) -> None:
    board = json.loads((FOLDER / "grafana" / "dashboards" / "sciqueue.json").read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len(panels) >= 20
    for panel in panels:
        for target in panel["targets"]:
            _hold(told, target["expr"], re.findall(r"{{(\w+)}}", target["legendFormat"]), panel["title"])


def _hold(told: Told, query: str, shown: list[str], where: str) -> None:
    """A query's metrics are told, with the labels that it selects, groups and shows them by."""
    names = set(NAME.findall(query))
    assert names and names <= told.keys(), (where, names - told.keys())
    for name, selected in re.findall(r"\b(sciqueue_\w+){([^}]*)}", query):
        assert set(re.findall(r"(\w+)\s*[=!]", selected)) <= told[name] | ADDED, (where, selected)
    labels = set().union(*(told[name] for name in names)) | ADDED
    grouped = {label for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", query) for label in re.findall(r"\w+", group)}
    assert grouped <= labels, (where, grouped - labels)
    kept = grouped if re.search(r"\bby \(", query) else labels
    assert set(shown) <= kept, (where, set(shown) - kept)


def test_each_metric_is_explained_and_only_those_that_are_told(told: Told) -> None:
    text = (FOLDER / "README.md").read_text()
    explained = {
        name: set(re.findall(r"`(\w+)`", labels))
        for name, labels in re.findall(r"^\| `(\w+)` \| ([^|]*)\|", text, re.M)
    }
    assert explained == {name: labels for name, labels in told.items() if not name.endswith("_created")}
