from __future__ import annotations

import pytest

from producer.evaluation.shipped import of_shipped
from schemas.items import INFERENCE, Task
from schemas.registry import load_registry
from schemas.revision import revision_of


@pytest.mark.parametrize("task", INFERENCE)
def test_every_default_model_comes_with_its_quality_as_it_is_now(task: Task) -> None:
    entry = load_registry().default_for(task)
    evaluation = of_shipped()[entry.name, revision_of(entry)]
    assert evaluation.task is task
    assert evaluation.job is None
    assert any(one.low is not None for one in evaluation.metrics)
