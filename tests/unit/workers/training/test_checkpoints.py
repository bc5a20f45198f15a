"""Which checkpoint a run goes on from."""

from __future__ import annotations

from pathlib import Path

from workers.training.checkpoints import last_whole


def checkpoint(folder: Path, step: int, *, whole: bool) -> Path:
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "model.safetensors").write_bytes(b"weights")
    if whole:
        (made / "whole").touch()
    return made


def test_the_newest_by_its_step_is_taken(tmp_path: Path) -> None:
    for step in (900, 1000, 90):
        checkpoint(tmp_path, step, whole=True)
    assert last_whole(tmp_path) == tmp_path / "checkpoint-1000"


def test_half_written_ones_are_removed_back_to_a_whole_one(tmp_path: Path) -> None:
    kept = checkpoint(tmp_path, 10, whole=True)
    for step in (20, 30):
        checkpoint(tmp_path, step, whole=False)
    assert last_whole(tmp_path) == kept
    assert list(tmp_path.iterdir()) == [kept]


def test_without_a_whole_one_a_run_begins_anew(tmp_path: Path) -> None:
    assert last_whole(tmp_path / "none") is None
    checkpoint(tmp_path, 10, whole=False)
    assert last_whole(tmp_path) is None
