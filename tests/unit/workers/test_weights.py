"""Where weights come from: pinned packages, folders and hub revisions, and what is refused before loading."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import ModelUnavailable
from schemas.registry import Weights, load_registry
from workers.weights import locate

PINNED = load_registry().get("admet-ai").weights
ONE_FILE = "data/admet.csv"
ONE_SHA256 = "32d46092deab7a553e319bdecaaed5e7dc2300c992d74d0a68c13c37f4af9d2d"


def altered(**changes: object) -> Weights:
    return Weights.model_validate({**PINNED.model_dump(exclude_defaults=True), **changes})


def test_a_pinned_package_is_found() -> None:
    folder = locate(PINNED)
    assert len(list(folder.glob("models/*/*.pt"))) == 10


def test_the_package_is_not_imported() -> None:
    program = (
        "import sys; from schemas.registry import load_registry; from workers.weights import locate; "
        "locate(load_registry().get('admet-ai').weights); "
        "sys.exit('admet_ai' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_another_version_is_refused_with_the_command_that_mends_it() -> None:
    with pytest.raises(
        ModelUnavailable, match=r"installed as 2\.0\.1, the registry pins 1\.9\.9.*pip install admet-ai==1"
    ):
        locate(altered(version="1.9.9"))


def test_a_package_that_is_not_installed_is_refused() -> None:
    with pytest.raises(ModelUnavailable, match=r"not installed; run: pip install sciqueue-no-such-weights==1\.0"):
        locate(altered(package="sciqueue-no-such-weights", version="1.0"))


@pytest.mark.parametrize("missing", [{"version": None}, {"sha256": {}}])
def test_a_package_must_be_pinned_by_version_and_hashes(missing: dict[str, object]) -> None:
    with pytest.raises(ModelUnavailable, match="need `version` and `sha256`"):
        locate(altered(**missing))


def test_a_changed_file_is_refused() -> None:
    locate(altered(sha256={ONE_FILE: ONE_SHA256.upper()}))
    with pytest.raises(ModelUnavailable, match=r"admet\.csv has sha256 .*…, the registry pins 0000000000000000…"):
        locate(altered(sha256={ONE_FILE: "0" * 64}))


def test_a_missing_file_or_folder_is_refused() -> None:
    with pytest.raises(ModelUnavailable, match=r"no\.pt cannot be read: No such file"):
        locate(altered(sha256={"no.pt": "0" * 64}))
    with pytest.raises(ModelUnavailable, match="has no folder admet_ai/nowhere"):
        locate(altered(folder="admet_ai/nowhere"))


def test_shipped_weights_are_found_and_compared() -> None:
    shipped = load_registry().get("smiles-gpt").weights
    assert (locate(shipped) / "model.safetensors").is_file()
    with pytest.raises(ModelUnavailable, match="it was changed"):
        locate(shipped.model_copy(update={"sha256": {"config.json": "0" * 64}}))
    with pytest.raises(ModelUnavailable, match="need `sha256`"):
        locate(shipped.model_copy(update={"sha256": {}}))


def test_a_folder_is_taken_as_it_is_and_its_hashes_are_compared(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    good = hashlib.sha256(b"weights").hexdigest()
    assert locate(Weights(path=tmp_path)) == tmp_path
    assert locate(Weights(path=tmp_path, sha256={"model.safetensors": good})) == tmp_path
    (tmp_path / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ModelUnavailable, match="it was changed"):
        locate(Weights(path=tmp_path, sha256={"model.safetensors": good}))


def test_a_folder_that_does_not_exist_and_no_source_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="do not exist"):
        locate(Weights(path=tmp_path / "nothing"))
    with pytest.raises(ModelUnavailable, match="has no weights"):
        locate(Weights())


@pytest.mark.parametrize("revision", [None, "main", "v1.0", "abc123"])
def test_a_hub_repository_needs_a_commit(revision: str | None) -> None:
    with pytest.raises(ModelUnavailable, match="needs its full commit hash"):
        locate(Weights(hub="lab/model", revision=revision))


def cached(home: Path, commit: str, *names: str) -> None:
    """A snapshot as the hub's client keeps it on disk."""
    snapshot = home / "hub" / "models--lab--model" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for name in names:
        (snapshot / name).write_text("{}")


@pytest.mark.parametrize(
    ("names", "answer"),
    [
        (("config.json", "model.safetensors"), "found"),
        (("config.json", "pytorch_model.bin"), "has no safetensors; other forms are refused"),
        ((), "cannot be fetched: "),
    ],
)
def test_a_hub_snapshot_needs_safetensors(tmp_path: Path, names: tuple[str, ...], answer: str) -> None:
    commit = "a" * 40
    if names:
        cached(tmp_path, commit, *names)
    program = (
        "from schemas.errors import ModelUnavailable; from schemas.registry import Weights; "
        "from workers.weights import locate\n"
        f"try: print('found', locate(Weights(hub='lab/model', revision='{commit}')))\n"
        "except ModelUnavailable as fault: print(fault)"
    )
    offline = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run([sys.executable, "-c", program], env=offline, capture_output=True, text=True, check=True)
    assert answer in run.stdout
    assert len(run.stdout.strip().splitlines()) == 1
