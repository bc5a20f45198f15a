"""Fair share between jobs, decided purely: which pending batches go next, by weighted start-time fair queueing.

Each job has a virtual time, its cost dispatched so far divided by its weight. The batch that starts earliest in
virtual time goes next. A job that was idle starts at the present, so that waiting earns no claim on the past. Times are
kept for each queue apart: what a job got of workers that others cannot use is no reason to let it wait at these.
Source: Goyal, Vin, Cheng, "Start-time fair queueing", SIGCOMM 1996.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.ledger.dispatches import Waiting


@dataclass(frozen=True, slots=True)
class Times:
    """A queue's present virtual time, and those of the jobs that are ahead of it: the others start at the present."""

    present: float = 0.0
    ahead: Mapping[int, float] = field(default_factory=dict)

    def of(self, job: int) -> float:
        """When the job's next batch starts."""
        return self.ahead.get(job, self.present)


_START = Times()


@dataclass(frozen=True, slots=True)
class Choice:
    """The batches to dispatch, in order, and the times that hold once they are."""

    batches: list[int]
    times: Times


def choose(
    waiting: Sequence[Waiting], room: int, times: Times = _START, holding: Collection[int] = (), kept: int = 1
) -> Choice:
    """Choose at most `room` of the waiting batches; those of one job keep their order.

    The last `kept` places stay empty when it is the turn of a job that has a batch among the chosen, or is one of
    those `holding` a place already: whoever comes next then need not wait until a place becomes free.
    """
    of_job: dict[int, deque[Waiting]] = defaultdict(deque)
    for batch in waiting:
        of_job[batch.job].append(batch)
    # At the same time a job that holds nothing goes first: one that has just joined stands level with the last.
    starts = [(times.of(job), job in holding, job) for job in of_job]
    heapq.heapify(starts)
    present = times.present
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
    ahead = {job: time for job, time in {**times.ahead, **served}.items() if time > present}
    return Choice(chosen, Times(present, ahead))
