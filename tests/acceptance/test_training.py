"""A training run that is killed goes on from its last checkpoint, and its model serves a job at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from schemas.registry import load_registry
from schemas.revision import revision_of
from schemas.settings import Settings
from tests.acceptance.lab import SCIQUEUE, lab, until
from tests.acceptance.training_run import ended, started, whole

pytestmark = pytest.mark.slow

STEPS = 336  # 1,350 molecules that are not held out, 42 batches an epoch
SMALL = ["--limit", "1500", "--epochs", "8", "--width", "64", "--layers", "1", "--batch", "32", "--threads", "1"]


def training(folder: Path, home: Path, save_minutes: float) -> subprocess.Popen[str]:
    call = ["generator", "moses:test", "-o", str(folder), *SMALL, "--no-compile", "--save-minutes"]
    return started([*call, str(save_minutes)], home)


def test_a_run_killed_at_random_steps_ends_as_one_that_was_not(tmp_path: Path) -> None:
    ended(training(tmp_path / "unbroken", tmp_path / "home", 60.0))
    broken = tmp_path / "broken"
    for kill in range(3):
        before = max(whole(broken), default=0)
        run = training(broken, tmp_path / "home", 0.003)
        until(lambda before=before: max(whole(broken), default=0) > before, 120.0)
        time.sleep(random.uniform(0.0, 0.5))  # in the midst of a step, or of the next checkpoint
        run.send_signal(signal.SIGKILL)
        run.communicate()
        assert run.returncode == -signal.SIGKILL, f"kill {kill} came too late"
        assert max(whole(broken)) > before
    last = max(whole(broken))
    assert f"going on after step {last}\n" in ended(training(broken, tmp_path / "home", 60.0))
    cards = [json.loads((folder / "card.json").read_text()) for folder in (tmp_path / "unbroken", broken)]
    steps, tokens, losses = (
        [card["training"][name] for card in cards] for name in ("step", "tokens", "validation_loss")
    )
    assert steps == [STEPS, STEPS]
    assert last < STEPS
    assert max(whole(broken)) == STEPS
    assert tokens[0] == tokens[1]
    assert losses[0] == losses[1]
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (tmp_path / "unbroken", broken)]
    assert weights[0] == weights[1]


def test_a_run_with_other_epochs_goes_on_and_its_learning_rate_falls_to_zero_by_the_new_end(tmp_path: Path) -> None:
    for epochs, steps in (("1", STEPS // 8), ("2", STEPS // 4)):
        call = [*SCIQUEUE, "train", "generator", "moses:test", "-o", str(tmp_path / "run"), *SMALL, "--epochs", epochs]
        environment = {**os.environ, "SCIQUEUE_HOME": str(tmp_path)}
        run = subprocess.run([*call, "--no-compile"], env=environment, check=True, capture_output=True, text=True)
        assert ("going on" in run.stdout) == (epochs == "2")
        (state,) = (tmp_path / "run" / "checkpoints" / f"checkpoint-{steps}").glob("trainer_state.json")
        logged = [entry for entry in json.loads(state.read_text())["log_history"] if "learning_rate" in entry]
        highest = max(entry["learning_rate"] for entry in logged)
        assert highest == 2e-3
        assert logged[-1]["step"] > steps - 10
        assert logged[-1]["learning_rate"] < highest / 2


def test_a_trained_model_generates_at_once_under_a_revision_of_its_own_and_is_judged(tmp_path: Path) -> None:
    with lab() as site:
        site.command("train", "generator", "moses:test", "-o", str(tmp_path / "ours"), *SMALL, "--no-compile")
        listed = {one["name"]: one for one in json.loads(site.command("models", "--json").stdout)}
        assert "MIT" in listed["ours"]["licence"]
        assert listed["ours"]["weights_missing"] is None
        job = json.loads(site.command("submit", "--model", "ours", "--count", "20", "--json").stdout)["job"]
        standing = site.wait(job, 240.0)
        assert (standing.succeeded, standing.failed) == (20, 0)
        made_by = site.query("SELECT DISTINCT revision FROM analysis.provenance WHERE job_id = %s", job)
        assert [row["revision"] for row in made_by] == [listed["ours"]["revision"]]
        known = site.home / "known.smi"
        known.write_text("CCO\nCCN\nc1ccccc1O\nCC(=O)Nc1ccccc1\n")
        judged = ("evaluate", str(job), "--reference", str(known), "--test", str(known), "--json")
        figures = {one["name"]: one for one in json.loads(site.command(*judged).stdout)["metrics"]}
        assert figures["Valid"]["n"] == 20
        assert (
            figures["Valid"]["value"]
            == site.query("SELECT avg(valid::int)::float AS share FROM analysis.generations WHERE job_id = %s", job)[0][
                "share"
            ]
        )
        other = ["train", "generator", "moses:test", "-o", str(tmp_path / "ours"), *SMALL, "--batch", "64"]
        refused = site.command(*other, check=False)
        assert (refused.returncode, "batch 32 (now 64)" in refused.stderr) == (2, True)
        registry = load_registry(*Settings(home=site.home).registry_files)
    weights = tmp_path / "ours" / "model" / "model.safetensors"
    *before, last = weights.read_bytes()
    weights.write_bytes(bytes([*before, last ^ 1]))
    assert revision_of(registry.get("ours")) != listed["ours"]["revision"]


def test_a_folder_belongs_to_one_run_at_a_time_and_to_its_data(tmp_path: Path) -> None:
    data = tmp_path / "some.smi"
    data.write_text("CCO\nCCN\nc1ccccc1\n" * 100)
    call = [
        *SCIQUEUE,
        "train",
        "generator",
        str(data),
        "-o",
        str(tmp_path / "run"),
        "--epochs",
        "100000",
        "--no-compile",
    ]

    def refused() -> tuple[int, str]:
        run = subprocess.run(call, env={**os.environ, "SCIQUEUE_HOME": str(tmp_path)}, capture_output=True, text=True)
        return run.returncode, run.stderr

    first = subprocess.Popen(call, env={**os.environ, "SCIQUEUE_HOME": str(tmp_path)}, stdout=subprocess.DEVNULL)
    try:
        until((tmp_path / "run" / "recipe.json").exists, 60.0)
        code, why = refused()
        assert (code, "another process trains in" in why) == (7, True)
    finally:
        first.kill()
        first.wait()
    data.write_text("CCO\nCCC\nc1ccccc1\n" * 100)
    code, why = refused()
    assert (code, "holds a run with sha256" in why) == (2, True)


def test_a_folder_whose_name_no_model_can_have_is_refused_at_once(tmp_path: Path) -> None:
    call = [*SCIQUEUE, "train", "generator", "moses:test", "-o", str(tmp_path / "My Model")]
    run = subprocess.run(call, capture_output=True, text=True)
    assert (run.returncode, "give --name" in run.stderr) == (2, True)
    assert not (tmp_path / "My Model").exists()
