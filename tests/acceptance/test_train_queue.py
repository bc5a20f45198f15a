"""`sciqueue train … --queue`: a training run as a job, on a worker that takes such jobs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from schemas.ledger import progress
from tests.acceptance.lab import SCIQUEUE, Lab, lab, until
from tests.acceptance.training_run import whole

pytestmark = pytest.mark.slow

TINY = ["--limit", "600", "--width", "64", "--layers", "1", "--batch", "32", "--threads", "1", "--no-compile"]


@contextmanager
def trainer(site: Lab) -> Iterator[psutil.Process]:
    """A worker that takes training runs alone."""
    log = (site.home / "logs" / "trainer.log").open("a")
    worker = subprocess.Popen(
        [*SCIQUEUE, "worker", "--device", "cpu", "--tasks", "train"], env=site.environment, stdout=log, stderr=log
    )
    try:
        yield psutil.Process(worker.pid)
    finally:
        worker.terminate()
        worker.wait(60)
        log.close()


def queued(site: Lab, folder: Path, *options: str, data: str = "moses:test") -> int:
    said = site.command("train", "generator", data, "-o", str(folder), *TINY, *options, "--queue").stdout
    return int(said.split()[1])


def running(worker: psutil.Process, words: str) -> list[psutil.Process]:
    return [one for one in worker.children(recursive=True) if words in " ".join(one.cmdline())]


def test_a_queued_run_outlives_its_worker_and_ends_with_a_model_of_the_registry(tmp_path: Path) -> None:
    with lab() as site:
        folder = tmp_path / "ours"
        job = queued(site, folder, "--epochs", "30", "--save-minutes", "0.003")
        assert queued(site, folder, "--epochs", "30", "--save-minutes", "0.003") == job
        with trainer(site) as worker:
            until(lambda: whole(folder), 240.0)
            (process,) = running(worker, "workers.process")
            (run,) = running(process, "workers.training.process")
            process.kill()
            until(lambda: not run.is_running(), 20.0)
            before = max(whole(folder))
            standing = site.wait(job, 280.0)
        assert (standing.succeeded, standing.failed) == (1, 0)
        (row,) = site.query("SELECT * FROM analysis.trainings WHERE job_id = %s", job)
        card = json.loads((folder / "card.json").read_text())
        steps = card["training"]["steps"]
        assert (row["model"], row["folder"], row["card"]) == ("ours", str(folder), card)
        assert before < card["training"]["step"] == steps == row["step"] == row["steps"]
        assert "going on after step" in (site.home / "logs" / "trainer.log").read_text()
        listed = {one["name"]: one for one in json.loads(site.command("models", "--json").stdout)}
        assert listed["ours"]["revision"] == row["revision"]


def test_a_run_without_its_data_fails_with_the_reason_and_a_cancelled_one_ends(tmp_path: Path) -> None:
    with lab() as site, trainer(site) as worker:
        lost = site.wait(queued(site, tmp_path / "lost", data=str(tmp_path / "no.csv")), 120.0)
        assert (lost.succeeded, lost.failed) == (0, 1)
        (failure,) = site.query("SELECT error_code, error FROM analysis.trainings WHERE job_id = %s", lost.id)
        assert failure["error_code"] == "training_failed"
        assert f"no file {tmp_path}/no.csv" in failure["error"]
        job = queued(site, tmp_path / "endless", "--epochs", "100000")
        (run,) = until(lambda: running(worker, "workers.training.process"), 120.0)
        until(lambda: site.query("SELECT FROM sciqueue.jobs WHERE id = %s AND step > 0", job), 120.0)
        status = json.loads(site.command("status", str(job), "--json").stdout)
        assert 0 < status["step"] < status["steps"]
        assert f" of {status['steps']:,}" in site.command("status", str(job)).stdout
        site.command("cancel", str(job))
        until(lambda: not run.is_running(), 60.0)
        assert whole(tmp_path / "endless")  # saved as it ended
        with site.database() as database:
            assert progress.of_job(database, job).done == 0
