"""What the dispatcher looks at before it acts, read in one transaction: it looks many times a second."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from schemas.database import Connection, Database
from schemas.items import SUSPECTS, Task
from schemas.ledger.cuts import uncut
from schemas.ledger.dispatches import Lane
from schemas.ledger.jobs import any_complete

MANY_SLOTS = 4  # of a worker, from which on one can be spared


@dataclass(frozen=True, slots=True)
class Slots:
    """Of a queue's live workers: slots in all, those without a batch, and how many to spare for who comes next."""

    total: int
    free: int
    spare: int


@dataclass(frozen=True, slots=True)
class Outlook:
    """One look. All is by queue; a job holds a place while a batch of it is on its way or runs.

    A job that waits does so at each queue that may take it, or at its task's plain one if no live worker can.
    """

    lanes: dict[str, Lane]  # of the live workers
    slots: dict[str, Slots]
    messages: dict[str, int]
    holding: dict[str, set[int]]
    waiting: dict[str, set[int]]  # jobs with batches to send
    uncut: bool  # a job has rows to cut into batches
    complete: bool  # a job may be ended

    @property
    def live(self) -> bool:
        """Whether a batch waits, is on its way, or runs."""
        return bool(self.holding or self.waiting)


def look(database: Database, ahead: int) -> Outlook:
    """Look once. `ahead` is how many pending batches a job should have ready."""
    with database.transaction() as connection:
        lanes, slots = workers(connection)
        waiting = _waiting(connection, lanes)  # before those on their way, or one that goes meanwhile is missed
        messages, holding = _on_their_way(connection)
        to_cut = bool(uncut(connection, ahead))
        complete = any_complete(connection)  # after those that run, or the last one's end is seen late
    return Outlook(lanes, slots, messages, holding, waiting, to_cut, complete)


def workers(connection: Connection) -> tuple[dict[str, Lane], dict[str, Slots]]:
    """The queues of the live workers, with what each takes, and their slots."""
    rows = connection.execute(
        "SELECT queue, memory, sum(slots)::int AS total, sum(slots - running)::int AS free, "
        "sum((slots >= %s)::int)::int AS spare FROM (SELECT queues, memory, slots, (SELECT count(*) FROM batches "
        "WHERE lease_id = leases.id AND state = 'running') AS running FROM leases "
        "WHERE closed_at IS NULL AND expires_at > clock_timestamp()) live, unnest(queues) AS queue "
        "GROUP BY queue, memory ORDER BY queue, memory DESC",
        (MANY_SLOTS,),
    ).fetchall()
    lanes: dict[str, Lane] = {}
    slots: dict[str, Slots] = {}
    for row in rows:
        suspects = row["queue"] == SUSPECTS
        lane = Lane(None if suspects else Task(row["queue"].removeprefix("sciqueue.")), suspects, row["memory"])
        before = slots.get(lane.queue, Slots(0, 0, 0))
        slots[lane.queue] = Slots(before.total + row["total"], before.free + row["free"], before.spare + row["spare"])
        lanes[lane.queue] = lane  # of the smallest, that comes last: any of them may take the message
    return lanes, slots


def _on_their_way(connection: Connection) -> tuple[dict[str, int], dict[str, set[int]]]:
    rows = connection.execute(
        "SELECT queue, job_id, sum(queued)::int AS messages FROM ("
        "  SELECT queue, job_id, 1 AS queued FROM batches WHERE state = 'queued' UNION ALL "
        "  SELECT queue, job_id, 0 FROM batches WHERE state = 'running') b GROUP BY 1, 2"
    ).fetchall()
    messages: dict[str, int] = defaultdict(int)
    holding: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        messages[row["queue"]] += row["messages"]
        holding[row["queue"]].add(row["job_id"])
    return messages, holding


def _waiting(connection: Connection, lanes: dict[str, Lane]) -> dict[str, set[int]]:
    rows = connection.execute(
        "SELECT DISTINCT j.id, j.task, m.need, b.crashes > 0 AS suspect "
        "FROM jobs j JOIN models m ON m.id = j.model_id JOIN batches b ON b.job_id = j.id "
        "WHERE j.state = 'running' AND b.state = 'pending'"
    ).fetchall()
    waiting: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        task = Task(row["task"])
        able = [queue for queue, lane in lanes.items() if lane.takes(task, row["suspect"], row["need"])]
        for queue in able or [SUSPECTS if row["suspect"] else task.queue]:
            waiting[queue].add(row["id"])
    return waiting
