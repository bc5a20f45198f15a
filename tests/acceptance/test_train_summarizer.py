"""A summarizer is trained, serves a job and is evaluated; a run that is killed ends as one that was not."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.acceptance.lab import lab, until
from tests.acceptance.training_run import ended, started, whole
from tests.seq2seq_checkpoint import make_t5_of_papers

pytestmark = pytest.mark.slow

STEPS = 60  # 9 papers that are not held out, 2 batches of 4 an epoch
SMALL = ["--limit", "10", "--epochs", "30", "--batch", "4", "--source-tokens", "200", "--target-tokens", "64"]
SMALL += ["--target", "challenge", "--learning-rate", "3e-3", "--threads", "1"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_t5_of_papers(tmp_path_factory.mktemp("base") / "t5")


def training(base: Path, folder: Path, home: Path, save_minutes: float) -> subprocess.Popen[str]:
    call = ["summarizer", "aclsum:train", "--from", str(base), "-o", str(folder), *SMALL]
    return started([*call, "--save-minutes", str(save_minutes)], home)


def test_a_run_that_is_killed_ends_with_the_weights_of_one_that_was_not(base: Path, tmp_path: Path) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    ended(training(base, unbroken, tmp_path / "home", 60.0))
    run = training(base, broken, tmp_path / "home", 0.005)
    until(lambda: whole(broken), 60.0)
    time.sleep(random.uniform(0.0, 0.3))  # in the midst of a step, or of the next checkpoint
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert run.returncode == -signal.SIGKILL
    last = max(whole(broken))
    assert 0 < last < STEPS
    assert f"going on after step {last}\n" in ended(training(base, broken, tmp_path / "home", 60.0))
    cards = [json.loads((folder / "card.json").read_text()) for folder in (unbroken, broken)]
    assert [card["training"]["step"] for card in cards] == [STEPS, STEPS]
    for name in ("tokens", "train_loss", "validation_loss"):
        assert cards[0]["training"][name] == cards[1]["training"][name]
    assert cards[0]["measured"] == cards[1]["measured"]
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (unbroken, broken)]
    assert weights[0] == weights[1]


def test_a_trained_model_summarizes_at_once_and_is_evaluated(base: Path, tmp_path: Path) -> None:
    papers = tmp_path / "papers.jsonl"
    rows = [
        {
            "id": f"paper-{number}",
            "title": f"On {what}",
            "text": f"The {what} binds {number} ligands. It folds in water. Nothing else was seen.",
            "abstract": f"Ligands were found on the {what}.",
        }
        for number, what in enumerate(("enzyme", "polymer", "receptor", "mutant", "crystal", "membrane"))
    ]
    papers.write_text("\n".join([*map(json.dumps, rows), "no JSON"]) + "\n")
    with lab() as site:
        call = ["train", "summarizer", str(papers), "--from", str(base), "-o", str(tmp_path / "ours"), *SMALL]
        trained = site.command(*call, "--epochs", "200", "--target", "abstract", "--licence", "CC0")
        assert "left out: 1 that are no JSON" in trained.stdout
        listed = {one["name"]: one for one in json.loads(site.command("models", "--json").stdout)}
        assert (listed["ours"]["task"], listed["ours"]["engine"]) == ("summarize", "seq2seq")
        assert (listed["ours"]["licence"], listed["ours"]["weights_missing"]) == ("CC0", None)
        job = json.loads(
            site.command("submit", str(papers), "--task", "summarize", "--model", "ours", "--json").stdout
        )["job"]
        standing = site.wait(job, 60.0)
        assert (standing.succeeded, standing.failed) == (6, 1)
        made_by = site.query("SELECT DISTINCT revision FROM analysis.provenance WHERE job_id = %s AND row < 6", job)
        assert [row["revision"] for row in made_by] == [listed["ours"]["revision"]]
        summaries = site.query("SELECT summary FROM analysis.summaries WHERE job_id = %s ORDER BY row", job)
        assert all(row["summary"] for row in summaries)
        figures = {
            (one["system"], one["name"]): one
            for one in json.loads(site.command("evaluate", str(job), "--json").stdout)["metrics"]
        }
        assert figures["model", "ROUGE-1"]["n"] == figures["lead-3", "ROUGE-1"]["n"] == 6
        assert figures["model", "ROUGE-1"]["value"] > 0.5  # five of the six were learnt by heart
