"""`up`, `down`, Flower, and what a kill leaves behind."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from producer.stack import StackFile
from tests.acceptance.lab import Lab, lab, until

pytestmark = pytest.mark.slow


def test_up_is_safe_to_repeat_and_down_leaves_nothing_running(tmp_path: Path) -> None:
    with lab() as site:
        stack = site.stack()
        site.command("up")
        assert site.stack().pid == stack.pid
        assert site.command("doctor").returncode == 0
        family = [stack, *stack.children(recursive=True), *_servers(site)]
        site.command("down")
        until(lambda: not any(process.is_running() for process in family), 10.0)
        assert "nothing was running" in site.command("down").stdout


def test_a_killed_stack_takes_its_processes_along_and_up_starts_again() -> None:
    with lab() as site:
        source = site.home / "few.smi"
        source.write_text("CCO a\nCCN b\n")
        first = _predict(site, source)
        children = site.stack().children(recursive=True)
        site.stack().kill()
        until(lambda: not any(child.is_running() for child in children), 40.0)
        assert StackFile(site.settings).running() is None
        site.command("up")
        assert site.wait(_predict(site, source, "--again"), 60.0).succeeded == 2
        assert site.wait(first, 1.0).succeeded == 2  # found again after the restart


def test_flower_asks_for_its_password_and_shows_workers_and_tasks_by_name() -> None:
    with lab(flower_auth="watcher:secret") as site:
        info = StackFile(site.settings).running()
        assert info is not None
        source = site.home / "few.smi"
        source.write_text("CCO a\nCCN b\n")
        job = _predict(site, source)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(info.flower_url + "/api/workers")
        workers = until(lambda: _flower(info.flower_url, "/api/workers?refresh=1"), 20.0)
        assert {name.partition("@")[0] for name in workers} == {"cpu0", "suspects-cpu0"}
        tasks = until(lambda: _flower(info.flower_url, "/api/tasks"), 20.0)
        shown = next(iter(tasks.values()))
        assert shown["name"] == "predict fake-predict"
        assert shown["kwargs"] == f"job {job}, batch 1, 2 rows"
        command_lines = [" ".join(process.cmdline()) for process in psutil.process_iter() if _readable(process)]
        assert not any("watcher:secret" in line for line in command_lines)
        (flower,) = site.processes("producer.flower")
        flower.terminate()
        until(lambda: [one.pid for one in site.processes("producer.flower")] not in ([], [flower.pid]), 20.0)
        again = until(lambda: _answers(info.flower_url, "/api/tasks"), 30.0)
        assert set(again) == set(tasks)  # though no task was run since


def test_a_row_that_kills_the_process_fails_alone_and_its_neighbours_complete() -> None:
    with lab(lease_seconds="2") as site:
        source = site.home / "poison.smi"
        source.write_text("".join(f"{'C' * (row + 1)} m{row}\n" for row in range(16)))
        job = _predict(site, source, "--param", "crash=CCCCC", wait=False)
        standing = site.wait(job, 200.0)
        assert (standing.succeeded, standing.failed) == (15, 1)
        failures = site.query("SELECT row, error_code FROM analysis.failures WHERE job_id = %s", job)
        assert failures == [{"row": 4, "error_code": "worker_crash"}]


def test_a_stopping_worker_hands_back_what_it_cannot_finish() -> None:
    with lab(drain_seconds="1") as site:
        job = _slow_job(site, batch_rows=200, ns_per_token=1_000_000)
        until(lambda: site.query("SELECT 1 FROM sciqueue.batches WHERE state = 'running'"), 20.0)
        began = time.monotonic()
        site.command("down")
        assert time.monotonic() - began < 20.0
        site.servers.start_postgres()
        states = site.query("SELECT state, crashes FROM sciqueue.batches WHERE job_id = %s", job)
        assert {row["state"] for row in states} <= {"pending", "queued", "done"}
        assert all(row["crashes"] == 0 for row in states)  # nobody is blamed for a stop


def test_a_drained_worker_ends_with_its_batches_done_and_no_message_waits_to_be_missed() -> None:
    with lab(slots="4") as site:
        job = _slow_job(site, batch_rows=50, ns_per_token=100_000)
        until(lambda: site.query("SELECT 1 FROM sciqueue.batches WHERE state = 'done'"), 30.0)
        worker = next(one for one in site.workers() if "cpu0@" in " ".join(one.cmdline()[:6]))
        worker.terminate()
        assert site.wait(job, 90.0).succeeded == 2_000
        assert not worker.is_running()
        lost = site.query("SELECT count(*) AS n FROM sciqueue.batches WHERE crashes > 0")
        assert lost == [{"n": 0}]


def test_a_second_signal_ends_a_drain_at_once_and_blames_nobody() -> None:
    with lab(drain_seconds="200") as site:
        job = _slow_job(site, batch_rows=200, ns_per_token=1_000_000)
        until(lambda: site.query("SELECT 1 FROM sciqueue.batches WHERE state = 'running'"), 30.0)
        supervisor = site.supervisor()
        workers = site.workers()
        supervisor.terminate()
        time.sleep(2.0)
        assert supervisor.is_running()
        supervisor.terminate()
        psutil.wait_procs([supervisor, *workers], 30.0)
        assert not any(one.is_running() for one in (supervisor, *workers))
        states = site.query("SELECT DISTINCT crashes FROM sciqueue.batches WHERE job_id = %s", job)
        assert states == [{"crashes": 0}]


def _slow_job(site: Lab, *, batch_rows: int, ns_per_token: int) -> int:
    """Submit 2,000 rows of 20 tokens to a slow model."""
    source = site.home / "slow.smi"
    source.write_text("".join(f"{'C' * 20} m{row}\n" for row in range(2_000)))
    options = ("--batch-rows", str(batch_rows), "--param", f"ns_per_token={ns_per_token}")
    return _predict(site, source, *options, wait=False)


def _predict(site: Lab, source: Path, *options: str, wait: bool = True) -> int:
    told = site.command("submit", str(source), "--task", "predict", "--model", "fake-predict", "--json", *options)
    job = int(json.loads(told.stdout)["job"])
    if wait:
        site.wait(job, 60.0)
    return job


def _servers(site: Lab) -> list[psutil.Process]:
    return [process for process in (site.servers.postgres.process(), site.servers.broker.process()) if process]


def _answers(url: str, path: str) -> dict[str, dict[str, str]] | None:
    try:
        return _flower(url, path)
    except urllib.error.URLError:  # it starts
        return None


def _flower(url: str, path: str) -> dict[str, dict[str, str]]:
    request = urllib.request.Request(url + path)
    request.add_header("Authorization", "Basic " + base64.b64encode(b"watcher:secret").decode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, dict[str, str]] = json.load(answer)
    return found


def _readable(process: psutil.Process) -> bool:
    try:
        return bool(process.cmdline())
    except psutil.Error:
        return False
