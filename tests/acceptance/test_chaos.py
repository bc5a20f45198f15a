"""A few kills of each kind; `make chaos` does thirty."""

from __future__ import annotations

import pytest

from tests.acceptance.chaos import VICTIMS, run


@pytest.mark.slow
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_job_survives_kills_without_losing_or_doubling_a_row(victim: str) -> None:
    verdict = run(victim, instants=2, seed=7, rows=6_000)
    print(verdict)
    assert verdict.count.ok
