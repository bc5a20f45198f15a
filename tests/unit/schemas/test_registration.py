"""Entries of models that were trained here: written as TOML, read back the same, beside the lab's own file."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.registration import as_toml, register
from schemas.registry import Limits, ModelEntry, Weights, load_registry
from schemas.settings import Settings

LIMITS = Limits(batch_rows=4, batch_size=100, token_budget=100, max_rows=10, max_tokens=10)


def entry(name: str = "ours", **changes: object) -> ModelEntry:
    known = {"task": "generate", "engine": "causal", "limits": LIMITS, "parameters": {"samples": 1, "top_p": 0.5}}
    return ModelEntry(name=name, weights=Weights(path=Path('/models/é "quoted" \'n')), **{**known, **changes})


@pytest.mark.parametrize("written", [*load_registry(), entry(), entry("a.b-c", licence='"\\\n', default=True)])
def test_an_entry_is_read_back_as_it_was(written: ModelEntry, tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(as_toml(written), "utf-8")
    assert load_registry(file).get(written.name) == written


def test_registering_again_replaces_the_entry_and_leaves_the_others(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    for model in (entry("one"), entry("two"), entry("one", description="anew")):
        register(model, settings.models_folder)
    registry = load_registry(*settings.registry_files)
    assert registry.get("one").description == "anew"
    assert registry.get("two") == entry("two")
    assert len(settings.registry_files) == 2


def test_the_labs_own_file_has_the_last_word(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(as_toml(entry(description="the lab's")), "utf-8")
    settings = Settings(home=tmp_path / "home", models_file=own)
    register(entry(description="trained"), settings.models_folder)
    assert load_registry(*settings.registry_files).get("ours").description == "the lab's"


def test_without_trained_models_there_is_only_what_is_built_in(tmp_path: Path) -> None:
    assert Settings(home=tmp_path).registry_files == ()
