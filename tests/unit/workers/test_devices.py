from __future__ import annotations

import pytest

from schemas.errors import UsageError
from workers.devices import parse_devices, threads_per_process
from workers.gpus import Gpu

GPUS = [Gpu(2, "GPU-5a1b-2", "H100", 80 << 30, frozenset({4, 5})), Gpu(0, "MIG-77", "A100", 10 << 30, slice=1)]


def test_each_gpu_gets_a_process_that_sees_it_alone_by_uuid() -> None:
    first, second = parse_devices("1, GPU-5a1b", GPUS)
    assert [device.environment["CUDA_VISIBLE_DEVICES"] for device in (first, second)] == ["MIG-77", "GPU-5a1b-2"]
    assert [device.name.partition("@")[0] for device in (first, second)] == ["gpu0.1", "gpu2"]
    assert first.torch == second.torch == "cuda"
    assert (first.cpus, second.cpus) == (frozenset(), {4, 5})


def test_auto_is_every_gpu_or_the_cpu_where_there_is_none() -> None:
    assert [device.visible for device in parse_devices("auto", GPUS)] == ["GPU-5a1b-2", "MIG-77"]
    assert [device.torch for device in parse_devices("auto", [])] == ["cpu"]


def test_cpu_processes_see_no_gpu_and_have_names_of_their_own() -> None:
    devices = parse_devices("cpu,cpu", GPUS)
    assert [device.name.partition("@")[0] for device in devices] == ["cpu0", "cpu1"]
    assert all(device.environment["CUDA_VISIBLE_DEVICES"] == "" for device in devices)


@pytest.mark.parametrize("wanted", ["", "0,0", "0,GPU-5a1b", "cpu,0", "auto,0", "gpu", "0;1", "-1"])
def test_a_list_that_makes_no_sense_is_refused_with_an_example(wanted: str) -> None:
    with pytest.raises(UsageError, match="'0,1'"):
        parse_devices(wanted, GPUS)


@pytest.mark.parametrize("wanted", ["2", "GPU-9", "MIG-78"])
def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(wanted: str) -> None:
    with pytest.raises(UsageError, match=r"no GPU '.*'; there are: 0 \(H100, GPU-5a1b-2\), 1 \(A100, MIG-77\)"):
        parse_devices(wanted, GPUS)
    with pytest.raises(UsageError, match="there are: none"):
        parse_devices(wanted, [])


def test_cores_are_shared_unless_a_number_is_asked_for() -> None:
    assert threads_per_process(1000, None) == 1
    assert threads_per_process(2, 7) == 7
