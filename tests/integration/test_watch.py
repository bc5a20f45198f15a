"""Watching jobs over a real database, through outages too. Workers are simulated through the ledger."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import sciqueue, submitted
from rich.console import Console
from severed import Severed
from simulated_worker import answer, generation, work_off
from sqlalchemy.engine import make_url

from producer.display import Standing
from producer.watching import follow, view_on
from schemas.database import Database
from schemas.errors import ServerUnavailable
from schemas.items import Task
from schemas.ledger import jobs, progress
from schemas.states import JobState

pytestmark = pytest.mark.usefixtures("command_settings")


def test_watch_ends_when_the_job_does_and_says_how(library: Path, database: Database) -> None:
    job = submitted(library, "--model", "fake-predict")
    worker = threading.Timer(0.7, work_off, (database, Task.PREDICT, answer))
    worker.start()
    ended = sciqueue("watch", job, "--every", 0.1)
    worker.join()
    assert ended.code == 0
    assert "0 of 4" in ended.out
    assert "no worker for predict is live" in ended.out
    assert f"job {job} is done: 2 succeeded, 2 failed" in ended.out


def test_watch_without_a_job_watches_all_that_live(library: Path, database: Database) -> None:
    assert "no job is running" in sciqueue("watch").out
    submitted(library, "--model", "fake-predict")
    submitted("--model", "fake-generate", "--count", 3)
    worker = threading.Timer(
        0.3, lambda: (work_off(database, Task.PREDICT, answer), work_off(database, Task.GENERATE, generation))
    )
    worker.start()
    ended = sciqueue("watch")
    worker.join()
    assert "job 1 is done" in ended.out
    assert "job 2 is done: 3 succeeded" in ended.out


def test_submit_with_watch_follows_its_own_job(library: Path, database: Database) -> None:
    def work() -> None:
        while not work_off(database, Task.PREDICT, answer):
            time.sleep(0.1)

    worker = threading.Thread(target=work)
    worker.start()
    ended = sciqueue("submit", library, "--model", "fake-predict", "--watch")
    worker.join()
    assert ended.code == 0
    assert "job 1 is done" in ended.out


def test_watching_a_cancelled_job_ends_with_one(library: Path, database: Database) -> None:
    job = submitted(library, "--model", "fake-predict")
    jobs.cancel(database, job)
    ended = sciqueue("watch", job)
    assert ended.code == 1
    assert f"job {job} was cancelled" in ended.out


def test_watching_ends_when_a_fault_has_paused_the_job(library: Path, database: Database) -> None:
    job = submitted(library, "--model", "fake-predict")
    jobs.pause(database, job, "the weights are gone")
    ended = sciqueue("watch", job)
    assert ended.code == 1
    assert f"job {job} is paused: the weights are gone; 'sciqueue resume {job}'" in ended.out


def test_a_terminal_shows_a_bar_a_job(library: Path, database: Database) -> None:
    submitted(library, "--model", "fake-predict")
    work_off(database, Task.PREDICT, answer)
    standing = progress.of_job(database, 1)
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with view_on(console, every=1.0) as view:
        view([Standing(standing, None, None, None)], "waiting for PostgreSQL (3 s)")
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    for part in ("━━━━", "4/4", "100%", "2 failed", "waiting for PostgreSQL (3 s)"):
        assert part in shown


def test_ctrl_c_leaves_the_job_running_and_says_so(library: Path, database: Database) -> None:
    job = submitted(library, "--model", "fake-predict")
    command = [sys.executable, "-m", "schemas.command", "watch", str(job)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ) as watch:
        assert watch.stdout and watch.stderr
        assert "0 of 4" in watch.stdout.readline()
        watch.send_signal(signal.SIGINT)
        _, said = watch.communicate(timeout=20)
    assert watch.returncode == 130
    assert said == f"the work goes on without you; 'sciqueue watch {job}' follows it again\n"
    assert progress.of_job(database, job).state is JobState.RUNNING


@pytest.fixture
def severed(database_url: str) -> Iterator[Severed]:
    url = make_url(database_url)
    assert url.host and url.port
    with Severed(url.host, url.port) as proxy:
        yield proxy


def test_watching_outlives_a_short_outage(library: Path, database: Database, severed: Severed) -> None:
    job = submitted(library, "--model", "fake-predict")
    notices: list[str | None] = []

    def view(standings: object, notice: str | None) -> None:
        if not notices:
            severed.cut()
        elif notice and severed.is_cut:
            work_off(database, Task.PREDICT, answer)
            severed.restore()
        notices.append(notice)

    url = make_url(database.url).set(port=severed.port).render_as_string(hide_password=False)
    with Database(url, timeout=0.5) as far:
        ended = follow(far, [job], view)
    assert ended[0].state is JobState.DONE
    assert any(notice and "waiting for PostgreSQL" in notice for notice in notices)
    assert notices[-1] is None


def test_watching_gives_up_on_a_long_outage(library: Path, database: Database, severed: Severed) -> None:
    job = submitted(library, "--model", "fake-predict")
    url = make_url(database.url).set(port=severed.port).render_as_string(hide_password=False)
    with Database(url, timeout=0.2) as far, pytest.raises(ServerUnavailable):
        follow(far, [job], lambda *_: severed.cut(), patience=1.0)
