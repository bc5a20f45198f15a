from __future__ import annotations

import numpy as np
import pytest
import torch

from workers.memory import RESTS, Ceiling, is_device_lost, is_out_of_memory


def test_torch_really_out_of_memory_on_the_cpu_is_told():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)


def test_numpy_really_out_of_memory_is_told():
    with pytest.raises(MemoryError) as caught:
        np.empty(2**58, dtype=np.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "fault",
    [
        torch.OutOfMemoryError("Allocation on device"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
    ids=str,
)
def test_the_devices_ways_of_being_out_of_memory_are_told(fault):
    assert is_out_of_memory(fault)
    assert not is_device_lost(fault)


@pytest.mark.parametrize(
    "fault",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("CUDA error: device-side assert triggered"),
        ValueError("CUDA out of memory"),
        KeyError("out of memory"),
    ],
    ids=str,
)
def test_other_errors_are_not_taken_for_it(fault):
    assert not is_out_of_memory(fault)


def test_a_lost_context_is_told_from_an_error_of_one_call():
    assert is_device_lost(torch.AcceleratorError("CUDA error: device-side assert triggered"))
    assert not is_device_lost(RuntimeError("CUDA error: invalid configuration argument"))


def test_small_micro_batches_do_not_raise_the_ceiling():
    ceiling = Ceiling(1600)
    ceiling.failed(1600)
    for _ in range(10 * RESTS):
        ceiling.worked(100)
    assert ceiling.tokens == 800
    for _ in range(RESTS):
        ceiling.worked(800)
    assert ceiling.tokens == 900


def test_the_ceiling_stays_between_one_and_the_budget():
    ceiling = Ceiling(100)
    for _ in range(20):
        ceiling.failed(ceiling.tokens)
    assert ceiling.tokens == 1
    for _ in range(50 * RESTS):
        ceiling.worked(ceiling.tokens)
    assert ceiling.tokens == 100
