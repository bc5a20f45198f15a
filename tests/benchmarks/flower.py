"""Whether Flower stays small and quick while a million tasks pass: `make bench-flower`, TASKS=100000 for a short run.

A process sends what 16 workers would say of their tasks (received, started, succeeded), with Celery's own dispatcher,
as fast as Flower takes it. Beside the tasks that have passed stand Flower's memory and how long its pages take; after
the first tenth, when it knows as many tasks as it keeps, neither may grow.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path

import psutil
from celery import Celery

from producer.flower import MAX_TASKS
from producer.servers.embedded import EmbeddedServers
from producer.servers.endpoint import free_port
from tests.acceptance.lab import SCIQUEUE, until

MIB = 2**20
WORKERS = [f"gpu{device}@node{node}" for node in range(4) for device in range(4)]
NAMES = ("predict admet-ai", "summarize minilm-extractive", "generate smiles-gpt")
AHEAD = 500  # tasks that may be on their way to Flower: its pages shall wait for work, not for a queue of our making
TABLE = (
    "/tasks/datatable?draw=1&start=0&length=15&search%5Bvalue%5D={search}"
    "&order%5B0%5D%5Bcolumn%5D=0&order%5B0%5D%5Bdir%5D=desc&columns%5B0%5D%5Bdata%5D=received"
)
PAGES = {
    "tasks": TABLE.format(search=""),
    "search": TABLE.format(search="job%207"),
    "workers": "/workers",
}
FLAT = 1.1  # the memory at the end over that after the second tenth
QUICK = 1.0  # seconds that a page may take, in the median of a tenth


def main() -> None:
    """Send, look after every tenth, and print; exits 1 if Flower grew or a page became slow."""
    arguments = argparse.ArgumentParser(prog="make bench-flower", description=__doc__)
    arguments.add_argument("--tasks", type=int, default=1_000_000)
    tasks = arguments.parse_args().tasks
    home = Path(tempfile.mkdtemp(prefix="sqflower-"))
    servers = EmbeddedServers(home)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    try:
        broker = servers.start_broker()
        environment = os.environ | {"SCIQUEUE_HOME": str(home), "SCIQUEUE_FLOWER_AUTH": "off"}
        flower = subprocess.Popen([*SCIQUEUE, "flower", "--port", str(port)], env=environment)
        try:
            until(lambda: _answers(url), 60.0)
            good = _measure(url, psutil.Process(flower.pid), broker, tasks)
            file = sum(part.stat().st_size for part in (home / "run").glob("flower.db*"))
            print(f"its file: {file / MIB:.0f} MiB", flush=True)
        finally:
            flower.terminate()
            flower.wait(60)
    finally:
        servers.stop()
        shutil.rmtree(home, ignore_errors=True)
    sys.exit(not good)


def _measure(url: str, flower: psutil.Process, broker: str, tasks: int) -> bool:
    """A line a tenth: memory, and each page while tasks pass; then the pages once more, in peace."""
    print(f"Flower keeps {MAX_TASKS:,} tasks; pages in milliseconds, median (slowest)", flush=True)
    print(f"{'tasks':>10}{'tasks/s':>9}{'MiB':>6}" + "".join(f"{page:>15}" for page in PAGES), flush=True)
    held = [flower.memory_info().rss]
    _line(0, 0.0, held[0], [_times(url, path, 9) for path in PAGES.values()])
    sender = multiprocessing.get_context("spawn").Process(target=_send, args=(broker, url, tasks))
    sender.start()
    slow = 0.0
    passed, began, busy = 0, time.monotonic(), sum(flower.cpu_times()[:2])
    for tenth in range(1, 11):
        times: list[list[float]] = [[] for _ in PAGES]
        since, at = passed, time.monotonic()
        while (passed := _passed(url)) < tasks * tenth // 10:
            assert sender.is_alive() or sender.exitcode == 0, "the sender has died"
            for page, path in zip(times, PAGES.values(), strict=True):
                page += _times(url, path, 1)
            time.sleep(0.5)
        held.append(flower.memory_info().rss)
        _line(passed, (passed - since) / (time.monotonic() - at), held[-1], times)
        slow = max(slow, *(statistics.median(page) for page in times if page))
    sender.join(60)
    seconds = time.monotonic() - began
    busy = sum(flower.cpu_times()[:2]) - busy
    _line(passed, 0.0, flower.memory_info().rss, [_times(url, path, 9) for path in PAGES.values()])
    growth = held[10] / held[2]
    print(
        f"{passed:,} tasks in {seconds:.0f} s, {busy / passed * 1000:.2f} ms of processor time each; "
        f"memory over that of the second tenth: {growth:.2f}; slowest median: {slow * 1000:.0f} ms"
    )
    return growth <= FLAT and slow <= QUICK


def _line(passed: int, rate: float, held: int, times: list[list[float]]) -> None:
    pages = "".join(
        f"{f'{statistics.median(page) * 1000:.0f} ({max(page) * 1000:.0f})' if page else '':>15}" for page in times
    )
    print(f"{passed:>10,}{rate:>9,.0f}{held / MIB:>6.0f}{pages}", flush=True)


def _send(broker: str, url: str, tasks: int) -> None:
    """Tell of so many tasks, each worker of its own, in packs as a worker does it."""
    app = Celery("sciqueue", broker=broker)
    with app.connection_for_write() as connection:
        tellers = [app.events.Dispatcher(connection, hostname=name, buffer_group={"task"}) for name in WORKERS]
        for teller in tellers:
            teller.send("worker-online", freq=2)
        seen = 0
        for number in range(tasks):
            if number % 100 == 0:
                for teller in tellers:
                    teller.flush()
                while number - seen > AHEAD:
                    seen = _passed(url)
            teller, task = tellers[number % len(tellers)], str(uuid.uuid4())
            told = f"job {number // 5_000}, batch {number}, 512 rows"
            teller.send("task-received", uuid=task, name=NAMES[number % 3], args="()", kwargs=told, retries=0)
            teller.send("task-started", uuid=task)
            teller.send("task-succeeded", uuid=task, result="None", runtime=0.5)
        for teller in tellers:
            teller.flush()


def _passed(url: str) -> int:
    """Tasks that Flower has seen to their end."""
    with urllib.request.urlopen(f"{url}/workers?json=1", timeout=60) as answer:
        return sum(worker.get("task-succeeded", 0) for worker in json.load(answer)["data"])


def _times(url: str, path: str, count: int) -> list[float]:
    seconds = []
    for _ in range(count):
        began = time.monotonic()
        with urllib.request.urlopen(url + path, timeout=60) as answer:
            answer.read()
        seconds.append(time.monotonic() - began)
    return seconds


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthcheck", timeout=5):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    main()
