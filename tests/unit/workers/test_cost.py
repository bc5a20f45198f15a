from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from workers.cost import CostModel

Device = Callable[[int], float]


def gpu(padded: int) -> float:
    """A launch costs as much as 4,000 tokens."""
    return 4e-3 + padded * 1e-6


def cpu(padded: int) -> float:
    """Three times slower a token beyond a cache of 1,024."""
    return 2e-4 + padded * (1e-5 if padded <= 1024 else 3e-5)


def serve(model: CostModel, device: Device, micro_batches: int, seed: int = 0, noise: float = 0.05) -> float:
    """Run full micro-batches and return the tokens a second of the last half."""
    chance = random.Random(seed)
    tokens = seconds = 0.0
    for number in range(micro_batches):
        padded = chance.randint(max(1, int(model.budget * 0.8)), model.budget)
        taken = device(padded) * chance.lognormvariate(0, noise)
        model.observe(padded, int(padded * 0.9), taken)
        if number >= micro_batches // 2:
            tokens += padded * 0.9
            seconds += taken
    return tokens / seconds


def best_rate(device: Device, most: int) -> float:
    return max(0.9 * size / device(size) for size in range(1, most + 1, 7))


@pytest.mark.parametrize("device", [gpu, cpu])
@pytest.mark.parametrize("seed", range(5))
def test_it_finds_a_size_near_the_best(device, seed):
    assert serve(CostModel(16384), device, 2000, seed) > 0.8 * best_rate(device, 16384)


def test_the_devices_differ_in_what_is_best():
    for_gpu, for_cpu = CostModel(16384), CostModel(16384)
    serve(for_gpu, gpu, 500)
    serve(for_cpu, cpu, 500)
    assert for_cpu.budget < 2048 < for_gpu.budget


def test_before_anything_is_known_the_budget_is_the_registrys():
    assert CostModel(1000).budget == 1000


def test_the_budget_never_exceeds_the_bound():
    model = CostModel(1000)
    for number in range(600):
        assert 1 <= model.budget <= 1000
        model.observe(model.budget, model.budget, gpu(model.budget) if number % 2 else cpu(model.budget))


def test_a_latency_target_keeps_micro_batches_short():
    model = CostModel(16384, latency=0.006)
    serve(model, gpu, 500)
    assert gpu(model.budget) < 2 * 0.006
    assert model.budget > 256  # as large as the target allows, not the least there is


def test_a_target_that_cannot_be_met_leaves_the_least_micro_batch():
    model = CostModel(16384, latency=1e-9)
    serve(model, gpu, 500)
    assert model.budget == 1


def test_what_was_learnt_survives_a_restart():
    model = CostModel(16384)
    serve(model, cpu, 500)
    again = CostModel(16384, learnt=json.loads(json.dumps(model.state())))
    assert again.budget < 2048
    assert again.seconds(512) == pytest.approx(cpu(512), rel=0.3)


def test_it_follows_a_device_that_changes():
    model = CostModel(16384)
    serve(model, cpu, 500)
    serve(model, gpu, 6000)
    assert model.budget > 2048


def test_nothing_is_foretold_from_nothing():
    assert CostModel(1000).seconds(10) is None
