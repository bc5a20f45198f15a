"""How much memory models need and may take: read off real files and this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file

from schemas.errors import ModelUnavailable
from schemas.footprint import weights_bytes
from schemas.registry import ModelEntry, Weights, load_registry
from workers.room import MOST_RESERVE, RESERVE_SHARE, Memory, Room, device_memory, group_limits

FAKE = load_registry().get("fake-predict")


def with_weights(folder: Path, precision: str = "fp32") -> ModelEntry:
    return FAKE.model_copy(update={"weights": Weights(path=folder), "precision": precision})


def test_weights_count_as_they_are_held_in_memory_not_as_they_lie_on_the_disk(tmp_path: Path) -> None:
    tensors = {
        "half": np.zeros(1000, np.float16),
        "single": np.zeros((10, 10), np.float32),
        "ids": np.zeros(8, np.int64),
    }
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert weights_bytes(with_weights(tmp_path)) == 1100 * 4 + 64
    assert weights_bytes(with_weights(tmp_path, "bf16")) == 1100 * 2 + 64
    assert weights_bytes(with_weights(tmp_path / "model.safetensors")) == 1100 * 4 + 64


def test_a_packages_pinned_files_count_as_they_are() -> None:
    assert 5e6 < weights_bytes(load_registry().get("admet-ai")) < 5e8


def test_a_model_without_weights_needs_nothing_and_missing_ones_are_told(tmp_path: Path) -> None:
    assert weights_bytes(FAKE) == 0
    with pytest.raises(ModelUnavailable, match="do not exist"):
        weights_bytes(with_weights(tmp_path / "nowhere"))


def test_a_broken_file_counts_by_its_size(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"no safetensors at all")
    assert weights_bytes(with_weights(tmp_path)) == 21


def test_the_users_bound_holds_for_all_models_together() -> None:
    room = Room("cpu", bound=100)
    left = [room.memory(held, reserve=True) for held in (0, 60, 101)]
    assert left == [Memory(100, 100), Memory(100, 40), Memory(100, 0)]


def test_without_a_bound_models_may_take_what_is_free_and_leave_a_reserve_to_others() -> None:
    total = psutil.virtual_memory().total
    alone, beside = (Room("cpu").memory(1 << 60, reserve=reserve) for reserve in (False, True))
    assert 0 < beside.free < alone.free <= alone.total <= total
    assert alone.free - beside.free > 0.9 * min(total // RESERVE_SHARE, MOST_RESERVE) - (1 << 28)  # others work here


def test_a_container_has_what_its_control_groups_leave_it(tmp_path: Path) -> None:
    group = tmp_path / "a" / "b"
    group.mkdir(parents=True)
    _write(group, {"memory.max": "max", "memory.current": "5", "memory.stat": "inactive_file 1"})
    _write(group.parent, {"memory.max": "1000", "memory.current": "700", "memory.stat": "anon 1\ninactive_file 100"})
    (tmp_path / "own").write_text("0::/a/b\n")
    assert group_limits(tmp_path, tmp_path / "own") == [Memory(1000, 400)]


def test_the_older_control_groups_count_too_where_the_hosts_path_is_not_there(tmp_path: Path) -> None:
    root = tmp_path / "memory"
    root.mkdir()
    files = {"limit_in_bytes": "1000", "usage_in_bytes": "950", "stat": "total_inactive_file 20"}
    _write(root, {f"memory.{name}": text for name, text in files.items()})
    (tmp_path / "own").write_text("8:cpu,cpuacct:/\n4:memory:/docker/abc\n0::/\n")
    assert group_limits(tmp_path, tmp_path / "own") == [Memory(1000, 70)]


def test_a_machine_without_control_groups_has_all_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert group_limits(tmp_path, tmp_path / "none") == []
    monkeypatch.setattr("workers.room.group_limits", list)
    assert device_memory("cpu").total == psutil.virtual_memory().total


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text + "\n")
