"""What an encoder-decoder's rows go through without a device: cutting, further passes, and what backs a summary."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import pytest

from schemas.errors import RowError, UsageError
from schemas.items import Item, Molecule, Paper, Rejected, Section
from schemas.outcomes import Failed, Summary
from tests.seq2seq_checkpoint import make_t5_checkpoint, paper, seq2seq_entry
from workers.engines.contract import Prepared
from workers.engines.seq2seq import load
from workers.engines.seq2seq_cpu import WindowWork, Written
from workers.papers import body as body_of


@pytest.fixture(scope="module")
def cpu(tmp_path_factory: pytest.TempPathFactory) -> WindowWork:
    engine = load(seq2seq_entry(make_t5_checkpoint(tmp_path_factory.mktemp("t5"))), "cpu")
    return pickle.loads(pickle.dumps(engine.cpu))


def prepared(cpu: WindowWork, content: Paper, **parameters: Any) -> Prepared:
    (unit,) = cpu.prepare(Item(0, content), parameters)
    assert isinstance(unit, Prepared)
    return unit


def manuscript(cpu: WindowWork, content: Paper, **parameters: Any) -> Any:
    return prepared(cpu, content, **parameters).data


def body(cpu: WindowWork, ids: Sequence[int]) -> str:
    text = cpu.text(ids)
    assert text.startswith("summarize: ")
    return text.removeprefix("summarize: ")


def test_a_long_paper_is_cut_into_windows_of_whole_sentences_in_order(cpu: WindowWork) -> None:
    content = paper(3, 40)
    data = manuscript(cpu, content)
    assert len(data.windows) > 3
    assert all(len(ids) <= 128 and ids[-1] == 1 for ids in data.windows)
    whole = " ".join(text for section in content.sections for text in section.paragraphs)
    assert " ".join(body(cpu, ids) for ids in data.windows) == whole
    assert all(body(cpu, ids).endswith(".") for ids in data.windows)
    assert data.coverage == 1.0


def test_a_section_begins_a_window_where_it_does_not_fit_into_the_last(cpu: WindowWork) -> None:
    said = [f"The enzyme binds {number} ligands in water." for number in range(10, 19)]
    content = Paper("", (Section("One", (" ".join(said[:5]),)), Section("Two", (" ".join(said[5:]),))))
    assert [body(cpu, ids).count(".") for ids in manuscript(cpu, content).windows] == [5, 4]


def test_of_a_paper_with_too_many_windows_those_evenly_spaced_are_read(cpu: WindowWork) -> None:
    content = paper(5, 60)
    whole = manuscript(cpu, content)
    unit = prepared(cpu, content, max_windows=3, max_new_tokens=10, passes=1)
    step = len(whole.windows) / 3
    assert unit.data.windows == tuple(whole.windows[int(at * step)] for at in range(3))
    read = sum(body(cpu, ids).count(".") for ids in unit.data.windows)
    assert unit.data.coverage == pytest.approx(read / 60)
    assert unit.data.tokens == sum(len(ids) for ids in unit.data.windows)
    assert unit.tokens == unit.data.tokens + 3 * 10


def test_of_a_sentence_longer_than_a_window_the_beginning_is_read(cpu: WindowWork) -> None:
    content = Paper("", (Section("", ("The " + " ".join(f"enzyme {number}" for number in range(300)) + ".",)),))
    data = manuscript(cpu, content)
    (ids,) = data.windows
    assert len(ids) == 128 and ids[-1] == 1
    assert body(cpu, ids).startswith("The enzyme 0 enzyme 1 ")
    assert 0 < data.coverage < 0.5


def test_a_further_pass_draws_with_seeds_of_its_own_and_keeps_the_coverage(cpu: WindowWork) -> None:
    read = manuscript(cpu, paper(3, 60), temperature=1.0, max_new_tokens=40, max_windows=6)
    again = cpu.again(0, read, [f"The enzyme binds {at} ligands in water." for at in range(6)])
    assert again is not None and len(again.windows) < 6
    assert not set(again.seeds) & set(read.seeds)
    assert (again.coverage, again.source) == (read.coverage, read.source)
    assert 0 < again.coverage < 1


def test_a_text_that_no_fewer_windows_hold_is_not_read_again(cpu: WindowWork) -> None:
    read = manuscript(cpu, paper(3, 60), max_new_tokens=126)
    wordy = ["The enzyme binds 8 ligands in water. " * 20] * len(read.windows)
    assert cpu.again(0, read, wordy) is None


def finished(cpu: WindowWork, content: Paper, *parts: str) -> Summary:
    outcome = cpu.finish(Written(0, " ".join(parts), (), 1.0, 9, parts=parts, source=tuple(body_of(content))))
    assert type(outcome) is Summary
    return outcome


ENZYMES = Paper(
    "On enzymes",
    (
        Section("Methods", ("We stirred the mixture at 80 °C. Plasmids were cut.",)),
        Section("Results", ("The enzyme binds 12 ligands in water.",)),
    ),
)


def test_each_sentence_of_a_summary_comes_with_what_backs_it(cpu: WindowWork) -> None:
    summary = finished(cpu, ENZYMES, "The enzyme binds 12 ligands. Whales sing.", "the mixture was stirred at 90 °C")
    assert [(one.text, one.section, one.sentence) for one in summary.sentences] == [
        ("The enzyme binds 12 ligands.", 1, 0),
        ("Whales sing.", 0, 0),
        ("the mixture was stirred at 90 °C", 0, 0),
    ]
    backed, foreign, wrong = (one.score for one in summary.sentences)
    assert backed == pytest.approx(1.0) and foreign == 0.0 and 0 < wrong <= 0.25
    assert summary.support == 0.0


def test_sentences_of_a_model_that_writes_in_lower_case_are_told_apart(cpu: WindowWork) -> None:
    summary = finished(cpu, ENZYMES, "plasmids were cut . the enzyme binds 12 ligands . .")
    assert [(one.text, one.section, one.sentence) for one in summary.sentences] == [
        ("plasmids were cut .", 0, 1),
        ("the enzyme binds 12 ligands .", 1, 0),
    ]
    assert summary.support == pytest.approx(1.0)


def test_a_summary_of_nothing_has_no_support(cpu: WindowWork) -> None:
    summary = finished(cpu, ENZYMES, "", " . ")
    assert summary.sentences == () and summary.support is None


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (Paper("Only a title", ()), RowError.EMPTY_TEXT),
        (Rejected(RowError.NUL_BYTE, "byte 3"), RowError.NUL_BYTE),
        (Molecule("CC"), RowError.UNSUPPORTED),
    ],
)
def test_a_row_without_text_fails_with_its_reason(cpu: WindowWork, content: Any, code: RowError) -> None:
    (failed,) = cpu.prepare(Item(7, content), {})
    assert isinstance(failed, Failed) and (failed.row, failed.code) == (7, code)


def test_a_prefix_that_fills_the_window_is_too_long(cpu: WindowWork) -> None:
    (failed,) = cpu.prepare(Item(0, paper(0)), {"prefix": "the " * 200})
    assert isinstance(failed, Failed) and failed.code is RowError.TOO_LONG


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_new_tokens": 0},
        {"min_new_tokens": 129},
        {"temperature": -1},
        {"num_beams": 0},
        {"temperature": 0.5, "num_beams": 2},
        {"seed": -1},
        {"passes": 0},
        {"length": 3},
    ],
)
def test_a_parameter_that_cannot_be_meant_is_refused(cpu: WindowWork, parameters: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"parameter '{next(iter(parameters))}'"):
        cpu.prepare(Item(0, paper(0)), parameters)
