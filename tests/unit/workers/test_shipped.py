"""The models that come with sciqueue load as they are and do their work."""

from __future__ import annotations

from schemas.items import Task
from schemas.registry import load_registry
from workers.training.samples import look_at_samples


def test_the_default_generator_makes_different_molecules() -> None:
    entry = load_registry().default_for(Task.GENERATE)
    assert entry.weights.shipped
    found = look_at_samples(entry, learnt=(), count=100)
    assert found["valid"] > 0.5  # random weights, or a tokenizer that is not theirs, give none
    assert found["unique"] > 0.9
