"""Flower and the metrics pages in a real browser while real jobs run, and the pictures of them: `make pictures`.

A lab computes three jobs side by side. Debian's Chromium (`apt-get install chromium`) opens the pages; what they hold
is checked, and what they look like is kept in docker/pictures, with `sciqueue top` beside them. Exits 2 without it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from producer.commands.top import Shown
from producer.demo_corpora import aclsum_papers, approved_drugs
from producer.servers.endpoint import free_port
from producer.stack import StackFile
from producer.submission import submit
from schemas.database import Database
from schemas.endpoints import find_broker
from schemas.items import INFERENCE, Task
from schemas.ledger import progress
from schemas.registry import load_registry
from tests.acceptance import browser
from tests.acceptance.lab import SCIQUEUE, Lab, lab, until

PICTURES = Path(__file__).parents[2] / "docker" / "pictures"
AUTH = "ann:secret"
PREFIX = "/flower"
NAMES = {"predict admet-ai", "summarize minilm-extractive", "generate smiles-gpt"}
ARGUMENTS = re.compile(r"job \d+, batch \d+, \d+ rows")
SAMPLES = 10_000
COLUMNS = 96  # of the terminal in the picture
WORKER = {"rows", "tokens", "padded_tokens", "micro_batches", "busy_seconds", "queued_seconds", "filled", "room"}
JOB = {"job_rows", "job_succeeded_rows", "job_failed_rows", "job_outstanding_rows", "jobs", "batches", "live_workers"}


def main() -> None:
    """Check the pages, take the pictures, and print what was seen."""
    if browser.found() is None:
        print("make pictures needs Debian's Chromium: apt-get install chromium", file=sys.stderr)
        sys.exit(2)
    PICTURES.mkdir(exist_ok=True)
    ports = free_port(), free_port(), free_port()
    with lab(metrics_port=str(ports[0]), flower_auth=AUTH) as site, ExitStack() as beside:
        stack = StackFile(site.settings).running()
        assert stack is not None
        _start(beside, site, "dispatch", "--metrics-port", str(ports[1]))
        # Below a prefix, with a home of its own: two Flowers would keep what they know in one file.
        own = {"SCIQUEUE_HOME": str(site.home / "prefixed"), "SCIQUEUE_BROKER_URL": find_broker(site.settings)}
        _start(beside, site, "flower", "--port", str(ports[2]), "--prefix", PREFIX, **own)
        prefixed = f"http://127.0.0.1:{ports[2]}{PREFIX}"
        pages = [f"http://127.0.0.1:{port}/metrics" for port in ports[:2]]
        for url in (f"{stack.flower_url}/healthcheck", f"{prefixed}/healthcheck", *pages):
            until(lambda url=url: _status(url) == 200, 60.0)
        with site.database() as database:
            _submit(database)
            _top(database)
        _metrics(site, *pages)
        _flower(site, stack.flower_url)
        _prefix(prefixed)
        _restart(site, stack.flower_url)
    for file in sorted(PICTURES.iterdir()):
        print(f"{file.relative_to(PICTURES.parents[1])}: {file.stat().st_size / 1000:.0f} kB")


def _submit(database: Database) -> None:
    """Three jobs, all with outcomes: the one first whose outcomes are late, since its samples grow side by side."""
    registry = load_registry()

    def moving() -> bool:
        return all(job.done for job in progress.of_jobs(database, live_only=True))

    submit(database, registry, None, task=Task.GENERATE, name="generated-molecules", count=SAMPLES)
    until(moving, 300.0)
    submit(database, registry, approved_drugs(), task=Task.PREDICT, name="approved-drugs")
    submit(database, registry, aclsum_papers(), task=Task.SUMMARIZE, name="aclsum-papers")
    until(moving, 300.0)


def _top(database: Database) -> None:
    """`top`, as SVG: without the fonts that rich would have fetched from elsewhere."""

    def done() -> dict[int, int]:
        return {job.id: job.done for job in progress.of_jobs(database, live_only=True)}

    shown, before = Shown(database), done()
    shown.now()
    time.sleep(5.0)
    until(lambda: all(count > before[job] for job, count in done().items()), 120.0, 0.5)  # so that each has a rate
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor")
        console.print(shown.now())
    drawn = console.export_svg(title="sciqueue top", unique_id="top")
    (PICTURES / "top.svg").write_text(re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL))
    print("top: a line a worker, a queue and a job")


def _metrics(site: Lab, worker: str, dispatcher: str) -> None:
    """Both pages hold their families, of every model and job; one picture shows the beginning of each."""
    told = {
        sample.name.removeprefix("sciqueue_").removesuffix("_total"): family
        for url in (worker, dispatcher)
        for family in text_string_to_metric_families(browser.text(url))
        for sample in family.samples
    }
    missing = ({f"worker_{name}" for name in WORKER} | JOB | {"ledger_up"}) - told.keys()
    assert not missing, missing
    models = {name.split()[1] for name in NAMES}
    for name in ("worker_rows", "job_rows"):
        assert {sample.labels["model"] for sample in told[name].samples} == models
        assert all(sample.value > 0 for sample in told[name].samples)
    both = site.home / "metrics.html"
    both.write_text(
        "<body style='margin:0;font:13px monospace'>"
        + "".join(
            f"<div style='background:#e8e8e8;padding:4px 8px'>{what}: {urlsplit(url).path}</div>"
            f"<iframe src='{url}' style='width:100%;height:{height}px;border:0'></iframe>"
            for what, url, height in (("a dispatcher", dispatcher, 360), ("a worker", worker, 388))
        )
    )
    browser.picture(both.as_uri(), PICTURES / "metrics.png", 880, 794)
    print(f"metrics: {len(told)} families, of {', '.join(sorted(models))}")


def _flower(site: Lab, url: str) -> None:
    """Nobody sees it without the password; with it the pages name the workers, and every task by what it is about."""
    for path in ("/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks"):
        assert (_status(url + path), _status(url + path, "ann:wrong")) == (401, 401), path
    inside = _with_password(url)
    workers = {row["worker"] for row in site.query("SELECT worker FROM sciqueue.leases WHERE closed_at IS NULL")}
    listed = browser.read(f"{inside}/workers")
    assert set(listed.column("Worker")) >= workers, listed.rows
    broker = browser.read(f"{inside}/broker")
    assert set(broker.column("Queue")) >= {task.queue for task in INFERENCE}, broker.rows
    secret = urlsplit(find_broker(site.settings)).password
    assert secret and secret not in broker.text and secret not in listed.text
    tasks = browser.read(f"{inside}/tasks")
    _meaningful(tasks, workers)
    assert {task["name"] for task in _tasks(url).values()} == NAMES
    browser.picture(f"{inside}/tasks", PICTURES / "flower.png", 1100, 640)
    browser.picture(f"{inside}/workers", PICTURES / "workers.png", 1100, 590)
    print(f"Flower: 401 without the password; {len(workers)} workers, tasks like '{tasks.column('kwargs')[0]}'")


def _prefix(url: str) -> None:
    """Below a prefix, every file that the page names is found there, and the tasks come by the page's own script."""
    inside = _with_password(url)
    tasks = browser.read(f"{inside}/tasks")
    _meaningful(tasks, None)
    assert any(".css" in file for file in tasks.files)
    for file in tasks.files:
        assert file.startswith(f"{PREFIX}/static/"), file
        with urllib.request.urlopen(urljoin(url, file), timeout=30) as answer:
            kind = answer.headers["Content-Type"]
            assert len(answer.read()) > 100
            assert ("css" if ".css" in file else "javascript") in kind, (file, kind)
    assert _status(f"{url}/tasks") == 401
    print(f"Flower below {PREFIX}: {len(tasks.files)} style sheets and scripts are there")


def _restart(site: Lab, url: str) -> None:
    """What it knows survives a kill, up to the last save."""
    known = _tasks(url)
    asked = time.time()

    def saved() -> bool:
        files = list(site.settings.run_dir.glob("flower.db*"))  # one or several, as Python's dbm has it here
        return bool(files) and all(file.stat().st_mtime > asked for file in files)

    until(saved, 60.0)
    (before,) = site.processes("producer.flower")
    before.kill()
    until(lambda: not before.is_running() and _status(f"{url}/healthcheck") == 200, 60.0)
    again = _tasks(url)
    assert known.keys() <= again.keys()
    assert {again[uuid]["kwargs"] for uuid in known} == {task["kwargs"] for task in known.values()}
    _meaningful(browser.read(f"{_with_password(url)}/tasks"), None)
    print(f"Flower, killed: all {len(known)} tasks are there again")


def _meaningful(tasks: browser.Page, workers: set[str] | None) -> None:
    names, arguments = tasks.column("Name"), tasks.column("kwargs")
    assert names and set(names) <= NAMES, names
    assert len(arguments) == len(names) and all(map(ARGUMENTS.fullmatch, arguments)), arguments
    assert workers is None or set(tasks.column("Worker")) <= workers


def _tasks(url: str) -> dict[str, dict[str, Any]]:
    """All tasks that Flower knows, by their ids."""
    with urllib.request.urlopen(_request(f"{url}/api/tasks", AUTH), timeout=30) as answer:
        told: dict[str, dict[str, Any]] = json.load(answer)
    return told


def _start(beside: ExitStack, site: Lab, *arguments: str, **environment: str) -> None:
    """Leave a `sciqueue` command of the lab running; it ends before the lab does."""
    with (site.home / "logs" / f"beside-{arguments[0]}.log").open("w") as log:
        process = subprocess.Popen([*SCIQUEUE, *arguments], env=site.environment | environment, stdout=log, stderr=log)
    beside.callback(process.wait, 60)
    beside.callback(process.terminate)


def _status(url: str, auth: str = "") -> int:
    try:
        with urllib.request.urlopen(_request(url, auth), timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code
    except OSError:
        return 0


def _request(url: str, auth: str) -> urllib.request.Request:
    headers = {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"} if auth else {}
    return urllib.request.Request(url, headers=headers)


def _with_password(url: str) -> str:
    return url.replace("://", f"://{AUTH}@", 1)


if __name__ == "__main__":
    main()
