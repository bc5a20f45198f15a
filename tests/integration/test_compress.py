"""`sciqueue compress` on the shipped property model: what it makes is smaller, nearly equal, and runs as any model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from producer.demo_corpora import approved_drugs
from schemas.errors import ModelUnavailable
from schemas.items import Item, Molecule
from schemas.registry import ModelEntry, load_registry
from schemas.revision import pin, revision_of
from tests.acceptance.lab import SCIQUEUE, until
from tests.acceptance.training_run import whole
from tests.integration.command_line import refused, sciqueue
from workers.engines.contract import Prepared
from workers.engines.load import load_engine

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder where tox21-starter was compressed to `small`."""
    folder = tmp_path_factory.mktemp("home")
    drugs = [one.content.smiles for one in approved_drugs() if isinstance(one.content, Molecule)][:60]
    (folder / "drugs.smi").write_text("\n".join(drugs) + "\n")
    ended = subprocess.run(  # a process of its own, which pins itself to its device
        [*SCIQUEUE, "compress", "tox21-starter", "-o", folder / "small", "--int8", "--data", folder / "drugs.smi"],
        env={**os.environ, "SCIQUEUE_HOME": str(folder)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "lowest Spearman" in ended.stdout
    assert "torchao" not in ended.stderr
    return folder


@pytest.fixture
def small(home: Path) -> ModelEntry:
    return load_registry(home / "models" / "small.toml").get("small")


def test_it_is_smaller_nearly_equal_and_says_so(home: Path) -> None:
    card = json.loads((home / "small" / "card.json").read_text())
    before, after = (card["measured"][name] for name in ("tox21-starter", "small"))
    assert after["bytes"] < 0.6 * before["bytes"]  # of fp16, embeddings stay as they are
    assert after["bytes"] == (home / "small" / "model" / "model.safetensors").stat().st_size
    assert min(before["rows_per_second"], after["rows_per_second"]) > 0
    lost = card["lost"]
    assert 0 < lost["mean"] < 0.01
    assert lost["mean"] < lost["largest"] < 0.1
    assert min(lost["spearman"].values()) > 0.97
    assert len(lost["spearman"]) == 12
    assert card["made_of"]["revision"] == revision_of(load_registry().get("tox21-starter"))


def test_it_runs_as_any_model_and_a_row_keeps_its_values_in_company(home: Path, small: ModelEntry) -> None:
    pinned = pin(small)
    assert "-int8-" in pinned.revision
    assert "model.safetensors" in pinned.entry.weights.sha256
    engine = load_engine(pinned.entry, "cpu")
    smiles = (home / "drugs.smi").read_text().split()
    units = [
        unit
        for row, text in enumerate(smiles)
        for unit in engine.cpu.prepare(Item(row, Molecule(text)), {})
        if isinstance(unit, Prepared)
    ]
    together = [one.values for one in engine.run(units)]
    for unit, values in list(zip(units, together, strict=True))[:8]:
        (alone,) = engine.run([unit])
        assert alone.values == pytest.approx(values, abs=0.01)


def test_a_precision_other_than_that_of_the_weights_is_refused(small: ModelEntry) -> None:
    with pytest.raises(ModelUnavailable, match=r"has precision fp32, but .* holds int8"):
        load_engine(small.model_copy(update={"precision": "fp32"}), "cpu")
    whole = load_registry().get("tox21-starter").model_copy(update={"precision": "int8"})
    with pytest.raises(ModelUnavailable, match=r"has precision int8, but .* holds no int8"):
        load_engine(whole, "cpu")


def test_what_cannot_be_compressed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIQUEUE_HOME", str(tmp_path))
    drugs = tmp_path / "drugs.smi"
    drugs.write_text("CCO\nCCN\n")
    known = ["--data", drugs, "-o", tmp_path / "small"]
    refused(sciqueue("compress", "tox21-starter", *known), 2, "--int8")
    refused(sciqueue("compress", "smiles-gpt", *known, "--int8"), 2, "engine causal")
    refused(sciqueue("compress", "tox21-starter", *known, "--int8", "--name", "tox21-starter"), 2, "another folder")


def test_a_student_that_was_killed_goes_on_and_has_fewer_layers(home: Path) -> None:
    folder = home / "student"
    call = [*SCIQUEUE, "compress", "tox21-starter", "-o", str(folder), "--student-layers", "1", "--epochs", "12"]
    call += ["--data", str(home / "drugs.smi"), "--rows", "20", "--learn-rows", "40"]
    environment = {**os.environ, "SCIQUEUE_HOME": str(home)}
    with subprocess.Popen([*call, "--save-minutes", "0"], env=environment, stdout=subprocess.DEVNULL) as run:
        until(lambda: run.poll() is not None or whole(folder), 120.0)
        run.kill()
    assert run.returncode == -signal.SIGKILL, "the kill came too late"
    reached = max(whole(folder))
    ended = subprocess.run([*call, "--save-minutes", "0"], env=environment, text=True, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert f"step {reached + 1}: saved" in ended.stdout
    assert f"step {reached}: saved" not in ended.stdout
    assert "step 12: saved" in ended.stdout
    assert json.loads((folder / "model" / "config.json").read_text())["num_hidden_layers"] == 1
    card = json.loads((folder / "card.json").read_text())
    sizes = [card["measured"][name]["bytes"] for name in ("tox21-starter", "student")]
    assert sizes[1] < 0.5 * sizes[0]
