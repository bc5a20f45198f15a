"""Shipping a trained model: its files, their hashes in the registry, and nothing else changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from schemas.registry import load_registry
from workers.training.ship import ship

REGISTRY = """# A comment that stays.
[one]
task = "generate"
engine = "causal"
weights = { shipped = "one", sha256 = { "old.safetensors" = "00" } }
limits = { batch_rows = 4, batch_size = 100, token_budget = 100, max_rows = 10, max_tokens = 10 }

[one-more]
like = "one"
weights = { shipped = "one-more", sha256 = {} }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints").mkdir()
    for name in ("model/model.safetensors", "model/config.json", "README.md", "card.json", "recipe.json"):
        (tmp_path / "run" / name).write_text(name)
    (tmp_path / "models.toml").write_text(REGISTRY)
    (tmp_path / "shipped" / "one").mkdir(parents=True)
    (tmp_path / "shipped" / "one" / "old.safetensors").touch()
    return tmp_path


def test_the_model_and_its_card_replace_those_before(folder: Path) -> None:
    ship(folder / "run", "one", registry=folder / "models.toml", shipped=folder / "shipped")
    names = {file.name for file in (folder / "shipped" / "one").iterdir()}
    assert names == {"model.safetensors", "config.json", "README.md", "card.json"}


def test_the_registry_pins_the_models_files_and_is_otherwise_the_same(folder: Path) -> None:
    ship(folder / "run", "one", registry=folder / "models.toml", shipped=folder / "shipped")
    pinned = load_registry(folder / "models.toml").get("one").weights
    assert pinned.sha256 == {
        name: hashlib.sha256(f"model/{name}".encode()).hexdigest() for name in ("config.json", "model.safetensors")
    }
    lines = zip(REGISTRY.splitlines(), (folder / "models.toml").read_text().splitlines(), strict=True)
    assert [old for old, new in lines if old != new] == [REGISTRY.splitlines()[4]]


def test_the_folders_of_an_ensembles_members_go_along(folder: Path) -> None:
    (folder / "run" / "model" / "member-0").mkdir()
    (folder / "run" / "model" / "member-0" / "model.safetensors").write_text("first")
    ship(folder / "run", "one", registry=folder / "models.toml", shipped=folder / "shipped")
    pinned = load_registry(folder / "models.toml").get("one").weights.sha256
    assert pinned["member-0/model.safetensors"] == hashlib.sha256(b"first").hexdigest()
    assert (folder / "shipped" / "one" / "member-0" / "model.safetensors").read_text() == "first"


def test_a_model_without_an_entry_is_refused_before_anything_changes(folder: Path) -> None:
    with pytest.raises(SystemExit, match="no entry with"):
        ship(folder / "run", "two", registry=folder / "models.toml", shipped=folder / "shipped")
    assert (folder / "models.toml").read_text() == REGISTRY
    assert not (folder / "shipped" / "two").exists()
