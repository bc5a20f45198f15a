"""Finding GPUs, on a simulated management library."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workers import gpus as module
from workers.gpus import Load, find_gpus, load_of, visible_gpus

SIMULATED = Path(__file__).parents[2] / "simulated" / "pynvml.py"
WHOLE = {"uuid": "GPU-aaaa-1", "name": "H100", "memory": 80 << 30, "used": 8 << 30, "busy": 37, "cpus": [0, 1, 65]}
CUT = {"uuid": "GPU-bbbb-2", "slices": ["MIG-1111", "MIG-2222"]}
LOST = {"uuid": "GPU-cccc-3", "lost": True}
LAST = {"uuid": "GPU-aabb-4"}


@pytest.fixture(autouse=True)
def nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "pynvml", SimpleNamespace(**runpy.run_path(str(SIMULATED))))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    _are(monkeypatch, WHOLE, CUT, LOST, LAST)


def _are(monkeypatch: pytest.MonkeyPatch, *gpus: dict[str, Any]) -> None:
    monkeypatch.setenv("SIMULATED_GPUS", json.dumps(gpus))


def test_a_machine_without_the_driver_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIMULATED_GPUS", raising=False)
    assert find_gpus() == []
    assert load_of("GPU-aaaa-1") is None


@pytest.mark.usefixtures("machine")
def test_whole_gpus_and_slices_are_found_and_a_lost_one_is_left_out() -> None:
    found = find_gpus()
    assert [(gpu.name, gpu.uuid) for gpu in found] == [
        ("gpu0", "GPU-aaaa-1"),
        ("gpu1.0", "MIG-1111"),
        ("gpu1.1", "MIG-2222"),
        ("gpu3", "GPU-aabb-4"),
    ]
    assert found[0].cpus == {0, 1, 65}
    assert found[0].memory == 80 << 30 and found[1].memory == 10 << 30
    assert found[3].cpus == frozenset()


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("visible", "left"),
    [
        (None, ["gpu0", "gpu1.0", "gpu1.1", "gpu3"]),
        ("", []),
        ("3,0", ["gpu3", "gpu0"]),
        ("1", ["gpu1.0"]),
        ("MIG-2222,GPU-aaaa", ["gpu1.1", "gpu0"]),
        ("0,7,3", ["gpu0"]),
        ("GPU-aa", []),  # two begin so
        ("-1", []),
    ],
)
def test_what_is_visible_is_read_as_cuda_reads_it(visible: str | None, left: list[str]) -> None:
    assert [gpu.name for gpu in visible_gpus(find_gpus(), visible)] == left


@pytest.mark.usefixtures("machine")
def test_a_gpus_memory_and_use_are_told_a_slices_memory_alone_and_nothing_of_a_lost_one() -> None:
    assert load_of("GPU-aaaa-1") == Load(80 << 30, 72 << 30, 0.37)
    assert load_of("MIG-2222") == Load(10 << 30, 10 << 30, None)
    assert load_of("GPU-cccc-3") is None
    assert load_of("GPU-none") is None
