"""What the dispatcher looks at before it acts, read in one transaction: it looks many times a second."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from schemas.database import Connection, Database
from schemas.items import SUSPECTS, Task
from schemas.ledger.cuts import uncut
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
    """One look. Jobs and messages are by queue; a job holds a place while a batch of it is on its way or runs."""

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
        slots = _slots(connection)
        waiting = _waiting(connection)  # before those on their way, or one that goes on its way meanwhile is missed
        messages, holding = _on_their_way(connection)
        to_cut = bool(uncut(connection, ahead))
        complete = any_complete(connection)  # after those that run, or the last one's end is seen late
    return Outlook(slots, messages, holding, waiting, to_cut, complete)


def _slots(connection: Connection) -> dict[str, Slots]:
    rows = connection.execute(
        "SELECT queue, sum(slots)::int AS total, sum(slots - running)::int AS free, "
        "sum((slots >= %s)::int)::int AS spare FROM (SELECT queues, slots, (SELECT count(*) FROM batches "
        "WHERE lease_id = leases.id AND state = 'running') AS running FROM leases "
        "WHERE closed_at IS NULL AND expires_at > clock_timestamp()) live, unnest(queues) AS queue GROUP BY queue",
        (MANY_SLOTS,),
    ).fetchall()
    return {row["queue"]: Slots(row["total"], row["free"], row["spare"]) for row in rows}


def _on_their_way(connection: Connection) -> tuple[dict[str, int], dict[str, set[int]]]:
    rows = connection.execute(
        "SELECT j.task, b.suspect, b.job_id, sum(b.queued)::int AS messages FROM ("
        "  SELECT job_id, crashes > 0 AS suspect, 1 AS queued FROM batches WHERE state = 'queued' UNION ALL "
        "  SELECT job_id, crashes > 0, 0 FROM batches WHERE state = 'running') b "
        "JOIN jobs j ON j.id = b.job_id GROUP BY 1, 2, 3"
    ).fetchall()
    messages: dict[str, int] = defaultdict(int)
    holding: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        messages[_queue(row)] += row["messages"]
        holding[_queue(row)].add(row["job_id"])
    return messages, holding


def _waiting(connection: Connection) -> dict[str, set[int]]:
    rows = connection.execute(
        "SELECT DISTINCT j.id, j.task, b.crashes > 0 AS suspect FROM jobs j JOIN batches b ON b.job_id = j.id "
        "WHERE j.state = 'running' AND b.state = 'pending'"
    ).fetchall()
    waiting: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        waiting[_queue(row)].add(row["id"])
    return waiting


def _queue(row: dict[str, Any]) -> str:
    return SUSPECTS if row["suspect"] else Task(row["task"]).queue
