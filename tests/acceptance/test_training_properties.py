"""A property model is trained, predicts at once, and is judged as its card judges it; killed, its run ends the same."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
from pathlib import Path

import pytest
from rdkit import Chem

from producer.demo_corpora import approved_drugs
from schemas.items import Molecule
from tests.acceptance.lab import lab, until
from tests.acceptance.training_run import ended, started, whole

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
        listed = {one["name"]: one for one in json.loads(site.command("models", "--json").stdout)}
        assert listed["ours"]["size"] > 0
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


def test_a_run_killed_in_each_of_its_parts_ends_as_one_that_was_not(tmp_path: Path) -> None:
    data = drugs_with_labels(tmp_path / "drugs.csv")

    def training(folder: Path, minutes: float) -> subprocess.Popen[str]:
        call = ["property", str(data), "-o", str(folder), *SMALL, *PRETRAINED, "--contrast", "--members", "2"]
        return started([*call, "--save-minutes", str(minutes)], tmp_path / "home")

    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    ended(training(unbroken, 60.0))
    for part in (broken / "pretrained", broken / "member-0", broken / "member-1"):
        run = training(broken, 0.0)
        until(lambda run=run, part=part: run.poll() is not None or whole(part), 120.0)
        run.send_signal(signal.SIGKILL)
        run.communicate()
        assert run.returncode == -signal.SIGKILL, "the kill came too late"
    assert not (broken / "model").exists()
    ended(training(broken, 60.0))
    cards = [json.loads((folder / "card.json").read_text()) for folder in (unbroken, broken)]
    assert cards[0]["training"]["steps"] == cards[1]["training"]["steps"]
    for mine, theirs in zip(*(card["training"]["members"] for card in cards), strict=True):
        assert [mine[part] for part in ("step", "tokens", "best_step")] == [
            theirs[part] for part in ("step", "tokens", "best_step")
        ]
    assert cards[0]["measured"] == cards[1]["measured"]
    files = [
        {file.relative_to(folder): file.read_bytes() for file in (folder / "model").rglob("*") if file.is_file()}
        for folder in (unbroken, broken)
    ]
    assert len(files[0]) > 8
    assert files[0] == files[1]
