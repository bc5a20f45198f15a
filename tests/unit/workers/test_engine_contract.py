"""One contract for the fake and the real engines: `workers/engines/contract.py`, as the batcher relies on it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

import workers.engines
from producer.demo_corpora import approved_drugs
from schemas.errors import RowError
from schemas.items import Content, Item, Molecule, Paper, Prompt, Section, Task
from schemas.outcomes import Failed, Generation, Outcome, Prediction, Summary
from schemas.registry import EngineKind, Limits, ModelEntry, Weights, load_registry
from tests.checkpoints import make_smiles_checkpoint
from tests.classifier_checkpoint import classifier_entry, ensemble_entry, make_classifier_checkpoint, make_ensemble
from tests.seq2seq_checkpoint import make_bart_checkpoint, make_t5_checkpoint, seq2seq_entry
from workers.batcher import Batcher
from workers.engines.contract import Engine, Prepared
from workers.engines.load import load_engine
from workers.engines.seq2seq_cpu import Manuscript
from workers.workshop import Workshop

ROWS = 200  # units that are computed alone, in random batches and in another order
DEVICE = os.environ.get("SCIQUEUE_TEST_DEVICE", "cpu")  # cuda, where there is a GPU
TOPICS = [
    "the enzyme",
    "a catalyst",
    "this polymer",
    "our model",
    "the receptor",
    "each solvent",
    "the crystal",
    "one mutant",
]
FINDINGS = [
    "lowers the barrier",
    "binds two ions",
    "folds within hours",
    "melts near room temperature",
    "fails in water",
]
OUTCOMES = {Task.PREDICT: Prediction, Task.SUMMARIZE: Summary, Task.GENERATE: Generation}


def paper(number: int) -> Paper:
    """A paper of 3 to 10 sentences; no two papers are alike."""
    draw = random.Random(number)
    sentences = [
        f"In trial {number}.{place} {draw.choice(TOPICS)} {draw.choice(FINDINGS)} near {draw.choice(TOPICS)}."
        for place in range(3 + number % 8)
    ]
    half = len(sentences) // 2
    return Paper(
        title=f"On {draw.choice(TOPICS)}",
        sections=(Section("Methods", (" ".join(sentences[:half]),)), Section("Results", (" ".join(sentences[half:]),))),
    )


CONTENTS: dict[Task, list[Content]] = {
    Task.PREDICT: [record.content for record in islice(approved_drugs(), 0, None, 11)],
    Task.SUMMARIZE: [paper(number) for number in range(ROWS)],
    Task.GENERATE: [Prompt(("", "CC", "c1ccccc1")[number % 3]) for number in range(ROWS // 4)],
}
PARAMETERS: dict[Task, dict[str, Any]] = {
    Task.PREDICT: {},
    Task.SUMMARIZE: {},
    Task.GENERATE: {"samples": 4, "seed": 5},
}

BAD: list[Content] = [
    Molecule(""),
    Molecule("not a molecule"),
    Molecule("C1CC("),
    Molecule("\x00"),
    Molecule("C" * 20_000),
    Paper("", ()),
    Paper("Only a title", (Section("", ()), Section("Empty", ("", "  ")))),
    Paper("\x00", (Section("\x00", ("\x00 \ufffd.",)),)),
    Prompt("no scaffold ("),
]


def registered(name: str) -> Callable[[Path], ModelEntry]:
    return lambda folder: load_registry().get(name)


def small_language_model(folder: Path) -> ModelEntry:
    """A checkpoint of a real architecture with random weights: no trained one can be had from a package."""
    checkpoint = make_smiles_checkpoint(folder, seed=1)
    return ModelEntry(
        name="small-causal",
        task=Task.GENERATE,
        engine=EngineKind.CAUSAL,
        weights=Weights(path=checkpoint),
        limits=Limits(batch_rows=64, batch_size=10_000, token_budget=4096, max_rows=64, max_tokens=128),
        parameters={"max_new_tokens": 16},
    )


MODELS: dict[str, Callable[[Path], ModelEntry]] = {
    "fake-predict": registered("fake-predict"),
    "fake-summarize": registered("fake-summarize"),
    "fake-generate": registered("fake-generate"),
    "admet-ai": registered("admet-ai"),
    "minilm-extractive": registered("minilm-extractive"),
    "small-causal": small_language_model,
    "small-t5": lambda folder: seq2seq_entry(
        make_t5_checkpoint(folder, gated=True, tied=False), parameters={"max_new_tokens": 20}
    ),
    # Drawn, since of its own repetitions it writes but more repetitions; of few tokens, since among a whole vocabulary
    # most windows have a draw so near an edge that they are decoded alone, and would never be compared in company.
    "small-bart": lambda folder: seq2seq_entry(
        make_bart_checkpoint(folder), parameters={"max_new_tokens": 20, "temperature": 1.0, "top_k": 8}
    ),
    "small-classifier": lambda folder: classifier_entry(make_classifier_checkpoint(folder)),
    "small-ensemble": lambda folder: ensemble_entry(make_ensemble(folder)),
}


@pytest.fixture(scope="module", params=MODELS)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    torch.set_num_threads(1)  # micro-batches this small only lose by sharing cores
    return load_engine(MODELS[request.param](tmp_path_factory.mktemp(request.param)), DEVICE)


def parameters(entry: ModelEntry) -> dict[str, Any]:
    """As the runner merges them."""
    return entry.parameters | PARAMETERS[entry.task]


def prepared(engine: Engine) -> list[Prepared]:
    """The first 200 units; a drug that cannot be standardized has none."""
    made = [
        unit
        for row, content in enumerate(CONTENTS[engine.entry.task])
        for unit in engine.cpu.prepare(Item(row, content), parameters(engine.entry))
    ]
    return [unit for unit in made if isinstance(unit, Prepared)][:ROWS]


@pytest.fixture(scope="module")
def units(engine: Engine) -> list[Prepared]:
    made = prepared(engine)
    assert len(made) == ROWS
    return made


@pytest.fixture(scope="module")
def together(engine: Engine, units: list[Prepared]) -> list[Outcome]:
    return list(engine.run(units))


# A percentile is a rank: a change in the last digit of a value may move it past a few of the 2,845.
TOLERANCE = {"percentile": 0.5}


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The plain values inside an outcome, in order, each with its field's name."""
    if is_dataclass(value):
        for field in fields(value):
            yield from leaves(getattr(value, field.name), field.name)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield "length", len(value)
        for part in value:
            yield from leaves(part, name)
    else:
        yield name, value


def assert_same(found: Sequence[Outcome], expected: Sequence[Outcome]) -> None:
    """Numbers within 1e-4, everything else exactly."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert type(ours) is type(theirs)
        for (name, one), (_, other) in zip(leaves(ours), leaves(theirs), strict=True):
            if isinstance(one, float):
                assert one == pytest.approx(other, rel=1e-4, abs=TOLERANCE.get(name, 1e-4), nan_ok=True), name
            else:
                assert one == other, name


CPU_WORK = sorted(file.stem for file in Path(workers.engines.__path__[0]).glob("*_cpu.py"))


def test_each_engine_has_its_cpu_work_beside_it():
    elsewhere = {EngineKind.FAKE, EngineKind.TRAINING}
    assert sorted(f"{kind.value}_cpu" for kind in EngineKind if kind not in elsewhere) == CPU_WORK


@pytest.mark.parametrize("module", CPU_WORK)
def test_preparing_needs_no_torch(module):
    """Each preparing process imports it: torch would cost each of them seconds and hundreds of megabytes."""
    code = f"import sys, workers.engines.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_run_gives_one_outcome_of_the_tasks_kind_for_each_unit_in_order(engine, units, together):
    assert [(out.row, getattr(out, "sample", 0)) for out in together] == [(unit.row, unit.sample) for unit in units]
    assert all(isinstance(out, OUTCOMES[engine.entry.task]) for out in together)
    assert {type(out) for out in Workshop(engine.cpu).finish(together)} == {OUTCOMES[engine.entry.task]}


def test_papers_that_are_read_again_are_among_them(units, together):
    read = [(unit.data.tokens, out.tokens) for unit, out in zip(units, together, strict=True) if is_manuscript(unit)]
    assert not read or sum(first < all_passes for first, all_passes in read) > len(read) / 4


def is_manuscript(unit: Prepared) -> bool:
    return isinstance(unit.data, Manuscript)


def test_predictions_have_a_value_for_each_endpoint(engine, together):
    for out in together:
        if isinstance(out, Prediction):
            assert len(out.values) == len(out.spread) == len(out.percentile) == len(engine.entry.endpoints) > 0


def test_outcomes_differ_from_row_to_row(engine, together):
    """Or none of what follows would prove anything."""
    contents = [
        tuple(value for name, value in leaves(out) if name not in ("row", "sample", "seed")) for out in together
    ]
    known = 8 if engine.entry.name == "fake-generate" else 0.9 * len(contents)
    assert len(set(contents)) >= known


def test_units_tell_their_length(units):
    assert all(unit.tokens >= 1 for unit in units)
    assert len({unit.tokens for unit in units}) > 1 or units[0].sample != units[1].sample


def test_an_outcome_is_the_same_alone(engine, units, together):
    assert_same([engine.run([unit])[0] for unit in units], together)


def test_an_outcome_is_the_same_in_whatever_batch_and_order(engine, units, together):
    draw = random.Random(0)
    for _ in range(2):
        order = draw.sample(range(len(units)), len(units))
        found: dict[int, Outcome] = {}
        start = 0
        while start < len(order):
            part = order[start : start + draw.randint(1, 64)]
            found.update(zip(part, engine.run([units[place] for place in part]), strict=True))
            start += len(part)
        assert_same([found[place] for place in range(len(units))], together)


def test_preparing_again_gives_the_same_outcomes(engine, together):
    assert_same(engine.run(prepared(engine)), together)


@pytest.mark.parametrize("content", BAD, ids=lambda content: repr(content)[:40])
def test_bad_content_is_prepared_or_failed_but_never_raises(engine, content):
    made = engine.cpu.prepare(Item(3, content), parameters(engine.entry))
    assert made
    assert all(part.row == 3 for part in made)
    for part in made:
        if isinstance(part, Failed):
            assert part.message
        assert isinstance(part, Failed | Prepared)


@pytest.mark.parametrize("content", [Molecule("CCO"), paper(1), Prompt("CCO")], ids=lambda made: type(made).__name__)
def test_content_of_another_kind_is_unsupported(engine, content):
    if isinstance(content, type(CONTENTS[engine.entry.task][0])):
        assert all(
            isinstance(unit, Prepared) for unit in engine.cpu.prepare(Item(0, content), parameters(engine.entry))
        )
    else:
        (failed,) = engine.cpu.prepare(Item(0, content), parameters(engine.entry))
        assert isinstance(failed, Failed)
        assert failed.code is RowError.UNSUPPORTED


def test_empty_content_is_a_failure_except_for_a_free_prompt(engine):
    empty: Content = {Task.PREDICT: Molecule(""), Task.SUMMARIZE: Paper("", ()), Task.GENERATE: Prompt("")}[
        engine.entry.task
    ]
    made = engine.cpu.prepare(Item(0, empty), parameters(engine.entry))
    assert all(isinstance(part, Prepared if isinstance(empty, Prompt) else Failed) for part in made)


def test_through_the_batcher_the_outcomes_are_the_same(engine, units, together):
    batcher = Batcher(engine)
    batcher.start()
    try:
        tickets = [batcher.submit(units[start::3], job=start) for start in range(3)]
        for start, ticket in enumerate(tickets):
            assert_same(ticket.result(60), together[start::3])
    finally:
        batcher.stop(drain=10)
