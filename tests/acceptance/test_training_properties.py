"""A property model is trained, predicts at once, and is judged as its card judges it; killed, its run ends the same."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from rdkit import Chem

from producer.demo_corpora import approved_drugs
from schemas.items import Molecule
from tests.acceptance.lab import SCIQUEUE, lab, until

pytestmark = pytest.mark.slow

SMALL = ["--width", "64", "--layers", "1", "--epochs", "4", "--longest", "120", "--threads", "1"]
PRETRAINED = ["--pretrain", "moses:test", "--pretrain-limit", "400", "--pretrain-batch", "50"]
TASKS = {"acid": "C(=O)[OX2H1]", "halogen": "[F,Cl,Br,I]"}


def drugs_with_labels(file: Path, count: int = 300) -> Path:
    """Approved drugs with two groups that they have or lack; every seventh label is missing."""
    groups = {name: Chem.MolFromSmarts(smarts) for name, smarts in TASKS.items()}
    with file.open("w", newline="") as text:
        table = csv.writer(text)
        table.writerow(["name", "smiles", *TASKS])
        for place, record in zip(range(count), approved_drugs(), strict=False):
            assert isinstance(record.content, Molecule)
            molecule = Chem.MolFromSmiles(record.content.smiles)
            labels = [
                "" if molecule is None or (place + at) % 7 == 0 else int(molecule.HasSubstructMatch(group))
                for at, group in enumerate(groups.values())
            ]
            table.writerow([(record.columns or {})["name"], record.content.smiles, *labels])
    return file


def test_a_trained_model_predicts_at_once_and_is_judged_as_its_card_says(tmp_path: Path) -> None:
    data = drugs_with_labels(tmp_path / "drugs.csv")
    with lab() as site:
        told = site.command("train", "property", str(data), "-o", str(tmp_path / "ours"), *SMALL, *PRETRAINED).stdout
        assert "2 tasks (probability): acid, halogen; columns that are no tasks: name" in told
        card = json.loads((tmp_path / "ours" / "card.json").read_text())
        job = json.loads(site.command("submit", str(data), "--model", "ours", "--json").stdout)["job"]
        standing = site.wait(job, 120.0)
        assert (standing.total, standing.failed) == (300, sum(card["data"]["left_out"].values()))
        found = json.loads(site.command("evaluate", str(job), "--json").stdout)
    labels = {one["endpoint"]: one["n"] for one in found["metrics"] if one["name"] == "Brier"}
    assert {task: labels[task] for task in TASKS} == card["measured"]["test"]["labels"]
    stored = {
        (one["endpoint"], one["name"], one["system"]): one["value"]
        for one in found["metrics"]
        if one["system"] != "model minus baseline"
    }
    for system, name in (("model", "model"), ("ECFP4 + random forest", "baseline")):
        for task in TASKS:
            for score, value in card["measured"]["test"][name][task].items():
                assert stored[task, score, system] == pytest.approx(value, abs=1e-3), (task, score, system)


def test_a_run_killed_while_it_pretrains_and_while_it_learns_ends_as_one_that_was_not(tmp_path: Path) -> None:
    data = drugs_with_labels(tmp_path / "drugs.csv")

    def started(folder: Path, minutes: float) -> subprocess.Popen[str]:
        call = ["train", "property", str(data), "-o", str(folder), *SMALL, *PRETRAINED, "--contrast"]
        return subprocess.Popen(
            [*SCIQUEUE, *call, "--save-minutes", str(minutes)],
            env={**os.environ, "SCIQUEUE_HOME": str(tmp_path / "home")},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def ended(run: subprocess.Popen[str]) -> None:
        _, errors = run.communicate(timeout=240)
        assert run.returncode == 0, errors

    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    ended(started(unbroken, 60.0))
    for stage in (broken / "pretrained", broken):
        run = started(broken, 0.0)
        until(lambda run=run, stage=stage: run.poll() is not None or [*stage.glob("checkpoints/*/whole")], 120.0)
        run.send_signal(signal.SIGKILL)
        run.communicate()
        assert run.returncode == -signal.SIGKILL, "the kill came too late"
    assert not (broken / "model").exists()
    ended(started(broken, 60.0))
    cards = [json.loads((folder / "card.json").read_text()) for folder in (unbroken, broken)]
    for part in ("step", "steps", "tokens", "best_step"):
        assert cards[0]["training"][part] == cards[1]["training"][part]
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (unbroken, broken)]
    assert weights[0] == weights[1]
