"""The registry: built-in entries, a lab's own on top of them, and one clear line for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import ConfigurationError, NotFound
from schemas.items import Task
from schemas.registry import EngineKind, load_registry

LIMITS = "limits = { batch_rows = 4, batch_size = 100, token_budget = 100, max_rows = 10, max_tokens = 10 }"


def own(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "models.toml"
    file.write_text(text)
    return file


def test_every_built_in_entry_is_of_the_right_form() -> None:
    registry = load_registry()
    names = [entry.name for entry in registry]
    assert {"fake-predict", "fake-summarize", "fake-generate"} <= set(names)
    for entry in registry:
        assert entry.engine is EngineKind.FAKE or entry.weights != type(entry.weights)()
        if entry.weights.package is not None:
            assert entry.weights.version
            assert all(len(digest) == 64 for digest in entry.weights.sha256.values())
            assert entry.weights.sha256
        assert (entry.task is not Task.PREDICT) or entry.endpoints
        assert (entry.task is not Task.GENERATE) or {"samples", "seed"} <= set(entry.parameters)


def test_a_labs_entry_is_added(tmp_path: Path) -> None:
    file = own(
        tmp_path, f'[mine]\ntask = "predict"\nengine = "chemprop"\nweights = {{ path = "/models/x" }}\n{LIMITS}\n'
    )
    entry = load_registry(file).get("mine")
    assert (entry.task, entry.engine, entry.weights.path) == (Task.PREDICT, EngineKind.CHEMPROP, Path("/models/x"))
    assert (entry.precision, entry.parameters, entry.limits.wait_ms) == ("fp32", {}, 5.0)


def test_a_labs_entry_replaces_a_built_in_one_of_the_same_name(tmp_path: Path) -> None:
    file = own(tmp_path, f'[fake-predict]\ntask = "predict"\nengine = "fake"\ndescription = "ours"\n{LIMITS}\n')
    registry = load_registry(file)
    assert registry.get("fake-predict").description == "ours"
    assert sum(entry.name == "fake-predict" for entry in registry) == 1


def test_an_entry_like_another_says_only_what_differs(tmp_path: Path) -> None:
    registry = load_registry(own(tmp_path, '[mine]\nlike = "admet-ai"\nlimits.max_rows = 7\n[ours]\nlike = "mine"\n'))
    assert registry.get("mine").weights == registry.get("admet-ai").weights
    assert registry.get("admet-ai").default
    assert not registry.get("mine").default
    assert registry.get("ours").limits.max_rows == 7
    assert registry.get("ours").limits.token_budget == registry.get("admet-ai").limits.token_budget


def test_an_entry_like_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="model 'mine': like: no model 'missing' before it"):
        load_registry(own(tmp_path, '[mine]\nlike = "missing"\n'))


def test_the_last_default_of_a_task_is_used(tmp_path: Path) -> None:
    one = f'task = "generate"\nengine = "fake"\ndefault = true\n{LIMITS}\n'
    registry = load_registry(own(tmp_path, f"[first]\n{one}[second]\n{one}"))
    assert registry.default_for(Task.GENERATE).name == "second"


def test_an_own_default_comes_before_a_built_in_one_even_under_its_name(tmp_path: Path) -> None:
    built_in = load_registry().default_for(Task.SUMMARIZE).name
    one = f'task = "summarize"\nengine = "fake"\ndefault = true\n{LIMITS}\n'
    registry = load_registry(own(tmp_path, f"[mine]\n{one}[{built_in}]\n{one}"))
    assert registry.default_for(Task.SUMMARIZE).name == built_in
    assert registry.default_for(Task.SUMMARIZE).engine is EngineKind.FAKE


def test_a_task_without_a_default_says_how_to_name_a_model(tmp_path: Path) -> None:
    registry = load_registry()
    registry = type(registry)([entry for entry in registry if not entry.default])
    with pytest.raises(NotFound, match="--model"):
        registry.default_for(Task.PREDICT)


def test_an_unknown_model_is_answered_with_those_there_are() -> None:
    with pytest.raises(NotFound, match=r"no model 'gpt'; there are: .*fake-predict"):
        load_registry().get("gpt")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[x", "no valid TOML"),
        ("x = 1", "model 'x'"),
        (f'[X]\ntask = "predict"\nengine = "fake"\n{LIMITS}', "model 'X': name"),
        ('[x]\ntask = "predict"\nengine = "fake"', "model 'x': limits"),
        (f'[x]\ntask = "predict"\nengine = "onnx"\n{LIMITS}', "model 'x': engine"),
        (f'[x]\ntask = "predict"\nengine = "fake"\ncolour = "red"\n{LIMITS}', "model 'x': colour"),
        (f'[x]\ntask = "predict"\nengine = "fake"\nprecision = "fp8"\n{LIMITS}', "model 'x': precision"),
        (
            f'[x]\ntask = "predict"\nengine = "fake"\nweights = {{ path = "/a", hub = "b/c" }}\n{LIMITS}',
            "one of shipped, path",
        ),
        (f'[x]\ntask = "predict"\nengine = "fake"\n{LIMITS.replace("rows = 4", "rows = 0")}', "limits.batch_rows"),
    ],
)
def test_a_mistake_in_a_file_is_reported_with_file_model_and_field(tmp_path: Path, text: str, says: str) -> None:
    file = own(tmp_path, text)
    with pytest.raises(ConfigurationError) as fault:
        load_registry(file)
    assert str(file) in str(fault.value)
    assert says in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_file_that_is_absent_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.toml: No such file"):
        load_registry(tmp_path / "absent.toml")
