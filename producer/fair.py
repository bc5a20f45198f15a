"""Fair share between jobs, decided purely: which pending batches go next, by weighted start-time fair queueing.

Each job has a virtual time, its cost dispatched so far divided by its weight. The batch that starts earliest in
virtual time goes next. A job that was idle starts at the present, so that waiting earns no claim on the past.
Source: Goyal, Vin, Cheng, "Start-time fair queueing", SIGCOMM 1996.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from schemas.ledger.dispatches import Waiting


@dataclass(frozen=True, slots=True)
class Choice:
    """The batches to dispatch, in order; their jobs' new virtual times; and the present virtual time."""

    batches: list[int]
    served: dict[int, float]
    present: float


def choose(
    waiting: Sequence[Waiting], room: int, present: float, holding: Collection[int] = (), kept: int = 1
) -> Choice:
    """Choose at most `room` of the waiting batches; those of one job keep their order.

    The last `kept` places stay empty when it is the turn of a job that has a batch among the chosen, or is one of
    those `holding` a place already: whoever comes next then need not wait until a place becomes free.
    """
    of_job: dict[int, deque[Waiting]] = defaultdict(deque)
    for batch in waiting:
        of_job[batch.job].append(batch)
    # At the same time a job that holds nothing goes first: one that has just joined stands level with the last.
    starts = [(max(batches[0].served, present), job in holding, job) for job, batches in of_job.items()]
    heapq.heapify(starts)
    chosen: list[int] = []
    served: dict[int, float] = {}
    while starts and len(chosen) < room:
        start, _, job = heapq.heappop(starts)
        if len(chosen) >= room - kept and (job in served or job in holding):
            break
        present = start
        batch = of_job[job].popleft()
        chosen.append(batch.batch)
        served[job] = present + batch.cost / batch.weight
        if of_job[job]:
            heapq.heappush(starts, (served[job], True, job))
    return Choice(chosen, served, present)
