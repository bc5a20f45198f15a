"""Spans say what happened, and totals add up over all the times that a model was loaded."""

from __future__ import annotations

import itertools

import pytest

from workers.counts import BatcherStats
from workers.spans import Spans, Step, totals_line
from workers.tally import Tally


def ticking(*times: float) -> Spans:
    return Spans(iter(times).__next__)


def test_a_span_tells_its_step_its_start_and_its_seconds() -> None:
    spans = ticking(1.0, 1.25, 2.0, 4.5)
    for step in (Step.CLAIM, Step.COMPUTE):
        with spans.measure(step):
            pass
    assert [(span.step, span.began, span.seconds, span.fault) for span in spans] == [
        (Step.CLAIM, 1.0, 0.25, None),
        (Step.COMPUTE, 2.0, 2.5, None),
    ]
    assert str(spans) == "claim 250 ms, compute 2.5 s"


def test_a_span_under_way_is_seen_as_such() -> None:
    spans = ticking(1.0, 2.0)
    with spans.measure(Step.PREPARE):
        assert [span.seconds for span in spans] == [None]
        assert str(spans) == "prepare ..."
    assert [span.seconds for span in spans] == [1.0]


def test_an_exception_passes_through_and_is_named() -> None:
    spans = ticking(1.0, 3.0)
    with pytest.raises(TimeoutError), spans.measure(Step.COMPUTE):
        raise TimeoutError("late")
    assert [(span.seconds, span.fault) for span in spans] == [(2.0, "TimeoutError")]
    assert str(spans) == "compute 2.0 s (TimeoutError)"


def test_totals_count_spans_and_faults_by_step_in_the_order_of_a_batch() -> None:
    tally = Tally("some")
    for _ in range(2):
        spans = Spans(itertools.count().__next__)
        with pytest.raises(ValueError), spans.measure(Step.FINISH):
            raise ValueError
        with spans.measure(Step.CLAIM):
            pass
        tally.add(spans)
    counts = tally.counts()
    assert (counts.steps[Step.FINISH].count, counts.steps[Step.FINISH].faults) == (2, 2)
    assert totals_line(counts.steps) == "claim 2x 2.0 s, finish 2x 2.0 s (2 failed)"


def test_a_models_numbers_go_on_when_it_is_loaded_again() -> None:
    tally = Tally("some")
    tally.end(BatcherStats(rows=10, tokens=30, padded_tokens=40, busy_seconds=1.0, ceiling=7))
    tally.end(BatcherStats(rows=5, tokens=10, padded_tokens=10, busy_seconds=0.5))
    counts = tally.counts(BatcherStats(rows=1, waiting_rows=3, ceiling=9), held=70)
    assert (counts.work.rows, counts.work.tokens, counts.work.busy_seconds, counts.held) == (16, 40, 1.5, 70)
    assert (counts.work.waiting_rows, counts.work.ceiling) == (3, 9)  # these hold at a moment, and do not add up


def test_what_was_done_between_two_lines_is_told_once() -> None:
    tally = Tally("some")
    before = tally.counts(BatcherStats(rows=10))
    with (spans := ticking(0.0, 0.5)).measure(Step.COMPUTE):
        pass
    tally.add(spans)
    done = tally.counts(BatcherStats(rows=25)).since(before)
    assert done.line(60.0).startswith("some: 15 rows in 60 s, ")
    assert done.line(60.0).endswith("; compute 1x 500 ms")
    assert tally.counts(BatcherStats(rows=25)).since(tally.counts(BatcherStats(rows=25))).idle
