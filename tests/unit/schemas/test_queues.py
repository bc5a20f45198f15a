"""Queues by the size of their workers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.items import SUSPECTS, Task, sized
from schemas.ledger.dispatches import Lane

GIB = 1 << 30
BYTES = st.integers(1 << 20, 1 << 42)


def test_a_queue_is_named_after_its_workers_memory() -> None:
    names = {None: "", 80 * GIB: ".80g", 80 * GIB - 1: ".79g", GIB: ".1g", GIB - 1: ".1023m", 320 << 20: ".320m"}
    assert {memory: sized("sciqueue.predict", memory) for memory in names} == {
        memory: f"sciqueue.predict{size}" for memory, size in names.items()
    }


def test_tasks_and_suspects_of_one_size_have_a_queue_each() -> None:
    lanes = [*(Lane(task, memory=GIB) for task in Task), Lane(None, suspects=True, memory=GIB)]
    assert len({lane.queue for lane in lanes}) == len(Task) + 1
    assert lanes[-1].queue == f"{SUSPECTS}.1g"
    for task in Task:
        assert [lane.takes(task, False, GIB) for lane in lanes] == [*(other is task for other in Task), False]
        assert [lane.takes(task, True, GIB) for lane in lanes] == [*(False for _ in Task), True]


@given(BYTES, st.none() | BYTES)
def test_a_lane_takes_what_its_workers_can_hold(memory: int, need: int | None) -> None:
    assert Lane(Task.PREDICT, memory=memory).takes(Task.PREDICT, False, need) == (need is None or need <= memory)
    assert Lane(Task.PREDICT).takes(Task.PREDICT, False, need)
