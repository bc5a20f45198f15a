from __future__ import annotations

import pytest

from schemas.errors import UsageError
from workers.devices import parse_devices, threads_per_process


def test_each_gpu_gets_a_process_that_sees_it_alone() -> None:
    first, second = parse_devices("0, GPU-5a1b")
    assert (first.environment["CUDA_VISIBLE_DEVICES"], second.environment["CUDA_VISIBLE_DEVICES"]) == ("0", "GPU-5a1b")
    assert first.name.startswith("gpu0@")
    assert first.torch == second.torch == "cuda"


def test_cpu_processes_see_no_gpu_and_have_names_of_their_own() -> None:
    devices = parse_devices("cpu,cpu")
    assert [device.name.partition("@")[0] for device in devices] == ["cpu0", "cpu1"]
    assert all(device.environment["CUDA_VISIBLE_DEVICES"] == "" for device in devices)


@pytest.mark.parametrize("wanted", ["", "0,0", "cpu,0", "gpu", "0;1", "-1"])
def test_a_list_that_makes_no_sense_is_refused_with_an_example(wanted: str) -> None:
    with pytest.raises(UsageError, match="'0,1'"):
        parse_devices(wanted)


def test_cores_are_shared_unless_a_number_is_asked_for() -> None:
    assert threads_per_process(1000, None) == 1
    assert threads_per_process(2, 7) == 7
