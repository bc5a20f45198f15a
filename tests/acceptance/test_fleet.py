"""Workers come and go while a small job runs; `make fleet` does more of it with 200,000 rows, and judges the rates."""

from __future__ import annotations

import pytest

from tests.acceptance.fleet import ADD, CRASH_TWO, DRAIN, START, run


@pytest.mark.slow
def test_no_row_is_lost_or_done_twice_while_workers_are_added_crash_and_are_drained() -> None:
    proof = run(8_000, rate=110, batch_rows=16, hold=0.2, events=(START, ADD, CRASH_TWO, DRAIN))
    print(proof)
    assert proof.count.ok
    assert not proof.faults
