from __future__ import annotations

from pathlib import Path

import pytest

from producer.benching import Sample, built_in, draw, forecast
from producer.readers.options import ReadOptions
from schemas.errors import RowError
from schemas.items import INFERENCE, Molecule, Prompt, Rejected, Task
from schemas.measured import Measured


def measured(rows: int, per_second: float) -> Measured:
    nothing = dict.fromkeys(Measured.model_fields, 0)
    return Measured.model_validate(
        nothing
        | {"device": "cpu", "failures": [], "sizes": [], "rows": rows, "rows_per_second": per_second, "succeeded": rows}
    )


def test_rows_are_drawn_from_all_of_the_sources_and_always_the_same(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        files.append(tmp_path / f"{name}.smi")
        files[-1].write_text("".join(f"{'C' * (n % 50 + 1)}\n" for n in range(1000)))
    drawn = draw(files, Task.PREDICT, 100, ReadOptions())
    assert drawn == draw(files, Task.PREDICT, 100, ReadOptions())
    assert (len(drawn.contents), drawn.rows, drawn.work) == (100, 2000, 2 * 20 * sum(range(1, 51)))
    lengths = [len(one.smiles) for one in drawn.contents if isinstance(one, Molecule)]
    assert 20 < sum(lengths) / 100 < 31  # 25.5 of all; the first hundred rows would do, one file's end would not
    assert len(set(lengths)) > 30


def test_a_small_corpus_is_taken_whole_and_in_order(tmp_path: Path) -> None:
    file = tmp_path / "a.smi"
    file.write_text("C\nCC two words\n\nCCC\n")
    drawn = draw([file], Task.PREDICT, 100, ReadOptions())
    assert [getattr(one, "smiles", None) for one in drawn.contents] == ["C", "CC", "CCC"]


def test_the_forecast_follows_the_work_not_the_rows() -> None:
    """The two rows of the sample took a second; they are as long as nine of the corpus' ten rows together."""
    sample = Sample([Molecule("C" * 45), Molecule("C" * 45)], rows=10, work=100)
    assert forecast(measured(2, 2.0), sample) == pytest.approx(100 / 90)
    assert forecast(measured(2, 2.0), sample, rows=1000) == pytest.approx(100 / 90 * 100)


def test_prompts_cost_the_same_whatever_their_length() -> None:
    sample = Sample([Prompt(""), Prompt("C" * 50)], rows=1000, work=1000)
    assert forecast(measured(2, 2.0), sample) == pytest.approx(500)


def test_a_corpus_of_rejected_rows_takes_a_time_too() -> None:
    sample = Sample([Rejected(RowError.EMPTY_SMILES, "empty")], rows=100, work=0)
    assert 0 <= forecast(measured(1, 100.0), sample) < 1.1


def test_there_is_data_to_measure_with_for_each_task() -> None:
    for task in INFERENCE:
        sample = built_in(task, 5)
        assert len(sample.contents) == sample.rows == 5
        assert sample.built_in
