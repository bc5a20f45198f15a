from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from producer import display
from producer.pace import Pace


def test_nothing_is_said_before_a_second_has_passed() -> None:
    pace = Pace()
    pace.observe(0.0, 0)
    pace.observe(0.9, 500)
    assert pace.rate is None
    assert pace.seconds_left(100) is None


def test_the_rate_follows_the_window_not_the_whole_past() -> None:
    pace = Pace(window=10.0)
    for second in range(100):
        pace.observe(float(second), 0)
    for second in range(100, 121):
        pace.observe(float(second), (second - 99) * 50)
    assert pace.rate == pytest.approx(50.0)
    assert pace.seconds_left(500) == pytest.approx(10.0)


def test_a_standstill_has_no_time_left() -> None:
    pace = Pace()
    pace.observe(0.0, 7)
    pace.observe(5.0, 7)
    assert pace.rate == 0.0
    assert pace.seconds_left(1) is None


def test_a_retry_that_takes_outcomes_back_begins_anew() -> None:
    pace = Pace()
    pace.observe(0.0, 0)
    pace.observe(10.0, 1000)
    pace.observe(11.0, 900)
    assert pace.rate is None
    pace.observe(13.0, 920)
    assert pace.rate == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0s"), (59.4, "59s"), (59.6, "1m 00s"), (200, "3m 20s"), (7500, "2h 05m"), (270_000, "3d 03h")],
)
def test_a_span_shows_its_two_largest_units(seconds: float, shown: str) -> None:
    assert display.span(seconds) == shown


def test_a_moment_ahead_of_our_clock_is_now() -> None:
    assert display.age(datetime.now(UTC) + timedelta(minutes=5)) == "0s"


def test_text_of_a_corpus_cannot_steer_the_terminal() -> None:
    assert display.plain("a\x1b[31mb\nc") == "a\ufffd[31mb c"
