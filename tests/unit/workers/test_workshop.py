from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psutil
import pytest

from schemas.errors import RowError, UsageError
from schemas.items import Item, Molecule, Rejected
from schemas.outcomes import Failed, Generation, Outcome
from workers.engines.contract import Prepared
from workers.tickets import Stopped
from workers.workshop import Workshop

ROW_SECONDS = 4.0


class Hazard:
    """Work that goes wrong in every way a row's SMILES asks for."""

    heavy = True

    def prepare(self, item: Item, parameters: dict[str, Any]) -> Sequence[Prepared | Failed]:
        assert isinstance(item.content, Molecule)
        match item.content.smiles:
            case "hang":
                time.sleep(600)
            case "slow":
                time.sleep(0.02)
            case "die":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hold":  # the interpreter, as C code does that never returns
                ctypes.PyDLL(None).pause()
            case "raise":
                raise ValueError("odd row")
        if "unknown" in parameters:
            raise UsageError("parameter 'unknown' is unknown")
        return [Prepared(item.row, len(item.content.smiles), os.getpid())]

    def finish(self, outcome: Outcome) -> Outcome:
        assert isinstance(outcome, Generation)
        if outcome.smiles == "die":
            os._exit(3)
        return replace(outcome, qed=0.5)


def items(*special: tuple[int, str], count: int = 100) -> list[Item]:
    named = dict(special)
    return [Item(row, Molecule(named.get(row, "C" * (row % 7 + 1)))) for row in range(count)]


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    made = Workshop(Hazard(), processes=2, row_seconds=ROW_SECONDS)
    yield made
    made.stop()


def test_rows_are_prepared_in_order_in_other_processes(workshop):
    units, failed = workshop.prepare(items(), {}, 1)
    assert [(unit.row, unit.tokens) for unit in units] == [(row, row % 7 + 1) for row in range(100)]
    assert not failed
    assert os.getpid() not in {unit.data for unit in units}


@pytest.mark.parametrize(
    ("what", "code", "reason"),
    [
        ("hang", RowError.TIMEOUT, "not prepared within 2 s"),
        ("die", RowError.WORKER_CRASH, f"ended the process that prepared it, with status {-signal.SIGSEGV}"),
        ("raise", RowError.ENGINE, "ValueError: odd row"),
    ],
)
def test_a_row_that_goes_wrong_fails_alone(workshop, what, code, reason):
    units, failed = workshop.prepare(items((37, what)), {}, 1)
    assert failed == [Failed(37, code, reason)]
    assert [unit.row for unit in units] == [row for row in range(100) if row != 37]


def test_a_lone_row_that_hangs_is_given_up_within_its_time(workshop):
    began = time.monotonic()
    _, failed = workshop.prepare(items((0, "hang"), count=1), {}, 2)
    assert [(one.row, one.sample, one.code) for one in failed] == [(0, 0, RowError.TIMEOUT), (0, 1, RowError.TIMEOUT)]
    assert time.monotonic() - began < ROW_SECONDS


def test_batches_of_many_threads_do_not_mix(workshop):
    def one(number: int) -> tuple[list[int], list[int]]:
        batch = [Item(number * 1000 + item.row, item.content) for item in items((5 + number, "die"), count=50)]
        units, failed = workshop.prepare(batch, {}, 1)
        return [unit.row - number * 1000 for unit in units], [fault.row - number * 1000 for fault in failed]

    with ThreadPoolExecutor(4) as threads:
        for number, (units, failed) in enumerate(threads.map(one, range(4))):
            assert failed == [5 + number]
            assert units == [row for row in range(50) if row != 5 + number]


def test_a_wrong_parameter_is_the_jobs_fault_not_the_rows(workshop):
    with pytest.raises(UsageError, match="'unknown' is unknown"):
        workshop.prepare(items(), {"unknown": 1}, 1)


def test_a_rejected_row_keeps_its_reason(workshop):
    _, failed = workshop.prepare([Item(3, Rejected(RowError.NUL_BYTE, "a NUL"))], {}, 1)
    assert failed == [Failed(3, RowError.NUL_BYTE, "a NUL")]


def test_outcomes_are_finished_in_order_and_the_guilty_one_fails_alone(workshop):
    drawn = [Generation(row, 0, "die" if row == 20 else "C", True, 0.0, 1, 0) for row in range(40)]
    finished = workshop.finish([*drawn, Failed(40, RowError.ENGINE, "before")])
    reason = "ended the process that prepared it, with status 3"
    assert finished[20] == Failed(20, RowError.WORKER_CRASH, reason)
    assert finished[40] == Failed(40, RowError.ENGINE, "before")
    assert [one.qed for one in finished if isinstance(one, Generation)] == [0.5] * 39


def test_without_processes_the_threads_do_it():
    units, failed = Workshop(Hazard()).prepare(items((4, "raise"), count=8), {}, 1)
    assert {unit.data for unit in units} == {os.getpid()}
    assert [one.row for one in failed] == [4]


def test_stop_leaves_no_process():
    made = Workshop(Hazard(), processes=2)
    units, _ = made.prepare(items(), {}, 1)
    made.stop()
    assert not [unit.data for unit in units if psutil.pid_exists(unit.data)]


def test_stopping_releases_who_waits_and_takes_no_more():
    made = Workshop(Hazard(), processes=1, row_seconds=600)
    made.prepare(items(count=1), {}, 1)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(made.prepare, items((0, "hang")), {}, 1)
        time.sleep(0.5)
        made.stop()
        with pytest.raises(Stopped):
            waiting.result(5)
    with pytest.raises(Stopped):
        made.prepare(items(), {}, 1)


def test_the_processes_outlive_the_thread_that_first_used_them(workshop):
    made = Workshop(Hazard(), processes=1, row_seconds=ROW_SECONDS)
    with ThreadPoolExecutor(1) as thread:
        (first,), _ = thread.submit(made.prepare, items(count=1), {}, 1).result()
    time.sleep(0.3)
    (second,), _ = made.prepare(items(count=1), {}, 1)
    made.stop()
    assert first.data == second.data


def test_rows_that_end_their_process_at_once_never_cost_another(workshop):
    for _ in range(3):
        units, failed = workshop.prepare(items(*((row, "die") for row in range(0, 40, 4)), count=40), {}, 1)
        assert [one.row for one in failed] == list(range(0, 40, 4))
        assert len(units) == 30


def test_a_small_batch_does_not_wait_for_all_of_a_large_one():
    made = Workshop(Hazard(), processes=1, row_seconds=ROW_SECONDS)
    made.prepare(items(count=1), {}, 1)
    with ThreadPoolExecutor(2) as threads:
        large = threads.submit(made.prepare, items(*((row, "slow") for row in range(0, 160, 2)), count=160), {}, 1)
        time.sleep(0.05)
        small = threads.submit(made.prepare, items(count=1), {}, 1)
        small.result(ROW_SECONDS)
        assert not large.done()
        large.result(60)
    made.stop()


@pytest.mark.parametrize("what", ["hang", "hold"])
def test_the_processes_end_with_one_that_is_killed(what):
    code = (
        "from tests.unit.workers.test_workshop import *\n"
        "if __name__ == '__main__':\n"
        "    made = Workshop(Hazard(), processes=2)\n"
        "    units, _ = made.prepare(items(), {}, 1)\n"
        "    print(*{unit.data for unit in units}, flush=True)\n"
        f"    made.prepare(items((0, '{what}')), {{}}, 1)\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    pids = [int(pid) for pid in worker.stdout.readline().split()]
    assert pids
    worker.kill()
    worker.wait()
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
