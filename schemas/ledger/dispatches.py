"""The dispatcher's transitions of a batch: dispatch, recall, expire, and split or fail what keeps crashing.

All are conditional on the state they start from. Whatever takes a batch from its holder bumps the fence.

Locks are taken in one order everywhere: job, then batches, then tally. What the dispatcher does to many rows skips
those that are locked: their holder is changing them, and a worker stuck within a transaction must not stop the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.database import Connection, Database
from schemas.errors import RowError
from schemas.items import SUSPECTS, Task, sized
from schemas.ledger.outcomes import IN_BATCH, count, remove_failures, table_of
from schemas.message import BatchMessage


@dataclass(frozen=True, slots=True)
class Lane:
    """What the workers of one queue take: a task's batches, or of all tasks those that were running in a crash.

    Suspects have queues of their own, whose workers run one batch at a time: what crashes there is to blame itself.
    `memory` is the bytes for models that each of the workers has. None means: whatever.
    """

    task: Task | None
    suspects: bool | None = False
    memory: int | None = None

    @property
    def queue(self) -> str:
        """The Celery queue."""
        return sized(self.task.queue if self.task is not None else SUSPECTS, self.memory)

    def takes(self, task: Task, suspect: bool, need: int | None) -> bool:
        """Whether it carries a batch of such a job, whose model needs so many bytes (None: not known)."""
        fits = need is None or self.memory is None or need <= self.memory
        return self.task in {None, task} and self.suspects in {None, suspect} and fits


@dataclass(frozen=True, slots=True)
class Waiting:
    """A pending batch as the dispatcher's fair share sees it."""

    batch: int
    job: int
    cost: float
    weight: float


@dataclass(frozen=True, slots=True)
class Dispatched:
    """A batch whose message may now be published; `rows` and `model` are for Flower's eyes."""

    message: BatchMessage
    task: Task
    job: int
    rows: int
    model: str


def waiting(connection: Connection, lane: Lane, room: int) -> list[Waiting]:
    """The first `room` pending batches that a lane takes, of every running job."""
    rows = connection.execute(
        "SELECT b.id AS batch, j.id AS job, b.cost, j.weight FROM jobs j JOIN models m ON m.id = j.model_id "
        "CROSS JOIN LATERAL (SELECT id, cost FROM batches WHERE job_id = j.id AND state = 'pending' "
        "  AND (%(suspects)s::bool IS NULL OR (crashes > 0) = %(suspects)s) ORDER BY id LIMIT %(room)s) b "
        "WHERE (%(task)s::text IS NULL OR j.task = %(task)s) AND j.state = 'running' "
        "AND (m.need <= %(memory)s::int8) IS NOT FALSE ORDER BY b.id",
        {"task": lane.task, "suspects": lane.suspects, "memory": lane.memory, "room": room},
    ).fetchall()
    return [Waiting(**row) for row in rows]


def dispatch(database: Database, batches: Sequence[int], queue: str) -> list[Dispatched]:
    """Hand batches over: pending → queued under a new fence. Publish their messages to `queue` after this returns.

    Batches that changed meanwhile, or whose job is being changed, are left out.
    """
    with database.transaction() as connection:
        # Under the job's lock a pause or cancel comes wholly before, or after, and then finds these batches queued.
        locked = connection.execute(
            "SELECT id FROM jobs WHERE state = 'running' AND id IN (SELECT job_id FROM batches WHERE id = ANY(%s)) "
            "FOR NO KEY UPDATE SKIP LOCKED",
            (list(batches),),
        ).fetchall()
        jobs = [row["id"] for row in locked]
        rows = connection.execute(
            "WITH ready AS (SELECT id FROM batches WHERE id = ANY(%s) AND job_id = ANY(%s) AND state = 'pending' "
            "FOR UPDATE SKIP LOCKED) "
            "UPDATE batches b SET state = 'queued', fence = b.fence + 1, queue = %s, dispatched_at = clock_timestamp() "
            "FROM ready r, jobs j JOIN models m ON m.id = j.model_id WHERE b.id = r.id AND j.id = b.job_id "
            "RETURNING b.id, b.fence, j.task, b.job_id, b.rows, m.name",
            (list(batches), jobs, queue),
        ).fetchall()
    order = {batch: place for place, batch in enumerate(batches)}
    rows.sort(key=lambda row: order[row["id"]])
    return [
        Dispatched(BatchMessage(r["id"], r["fence"]), Task(r["task"]), r["job_id"], r["rows"], r["name"]) for r in rows
    ]


def queues(connection: Connection) -> list[str]:
    """The queues that messages are on their way in."""
    rows = connection.execute("SELECT DISTINCT queue FROM batches WHERE state = 'queued' ORDER BY queue").fetchall()
    return [row["queue"] for row in rows]


def recall(database: Database, queue: str | None = None, older_than: float = 0.0) -> int:
    """Take back messages that will not arrive: queued → pending. Returns how many.

    For an emptied broker all of them; for one queue found empty, those dispatched `older_than` seconds ago.
    """
    return _recall(
        database, "dispatched_at <= clock_timestamp() - make_interval(secs => %(seconds)s)", queue, older_than
    )


def recall_overtaken(database: Database, queue: str, seconds: float) -> int:
    """Take back messages that must be lost because later ones of their queue, by `seconds`, were already claimed."""
    later = (
        "dispatched_at < (SELECT max(dispatched_at) - make_interval(secs => %(seconds)s) "
        "FROM batches WHERE state = 'running' AND queue = %(queue)s)"
    )
    return _recall(database, later, queue, seconds)


def _recall(database: Database, lost: str, queue: str | None, seconds: float) -> int:
    with database.transaction() as connection:
        recalled = connection.execute(
            "WITH lost AS (SELECT id FROM batches WHERE state = 'queued' "
            f"AND (%(queue)s::text IS NULL OR queue = %(queue)s) AND {lost} FOR UPDATE SKIP LOCKED) "
            "UPDATE batches b SET state = 'pending', fence = b.fence + 1 FROM lost l WHERE b.id = l.id",
            {"queue": queue, "seconds": seconds},
        )
    return recalled.rowcount


def expire(database: Database) -> int:
    """Return the batches of closed leases to `pending`: a crash is counted if the lease lapsed. Returns how many.

    A training run is in a process of its own, whose end is an outcome: its worker's end, hours later, is not its fault.
    All running batches are looked at, not those of leases closed just now: a claim may commit behind a closing.
    """
    with database.transaction() as connection:
        expired = connection.execute(
            "WITH held AS (SELECT b.id, l.closed_for = 'lapsed' AND j.task <> %s AS crashed "
            "FROM batches b JOIN leases l ON l.id = b.lease_id JOIN jobs j ON j.id = b.job_id "
            "WHERE b.state = 'running' AND l.closed_at IS NOT NULL FOR UPDATE OF b SKIP LOCKED) "
            "UPDATE batches b SET state = 'pending', fence = b.fence + 1, lease_id = NULL, "
            "crashes = b.crashes + h.crashed::int FROM held h WHERE b.id = h.id",
            (Task.TRAIN,),
        )
    return expired.rowcount


def suspects(connection: Connection, crashes: int) -> list[tuple[int, int]]:
    """Pending batches that were running in at least that many crashes: (batch, its number of rows)."""
    rows = connection.execute(
        "SELECT b.id, b.rows FROM batches b JOIN jobs j ON j.id = b.job_id "
        "WHERE b.state = 'pending' AND b.crashes >= %s AND j.state IN ('running', 'paused') ORDER BY b.id",
        (crashes,),
    ).fetchall()
    return [(row["id"], row["rows"]) for row in rows]


def split(database: Database, batch: int) -> bool:
    """Replace a pending batch by its two halves, one crash already on their account. False if it moved on."""
    with database.transaction() as connection:
        # A cancel holds the job's lock while it takes the batches: without it here, it would miss the new halves.
        job = connection.execute(
            "SELECT 1 FROM jobs WHERE id = (SELECT job_id FROM batches WHERE id = %s) FOR NO KEY UPDATE", (batch,)
        ).fetchone()
        if job is None:
            return False
        parent = connection.execute(
            "UPDATE batches SET state = 'split', fence = fence + 1, finished_at = clock_timestamp() "
            "WHERE id = %s AND state = 'pending' AND rows > 1 "
            "RETURNING job_id, first_row, end_row, only_rows, rows, cost, retry",
            (batch,),
        ).fetchone()
        if parent is None:
            return False
        rows = parent["only_rows"] or range(parent["first_row"], parent["end_row"])
        middle = len(rows) // 2
        for half in (rows[:middle], rows[middle:]):
            connection.execute(
                "INSERT INTO batches (job_id, first_row, end_row, only_rows, rows, cost, crashes, parent_id, retry) "
                "VALUES (%s, %s, %s, %s, %s, %s, 1, %s, %s)",
                (
                    parent["job_id"],
                    half[0],
                    half[-1] + 1,
                    list(half) if parent["only_rows"] else None,
                    len(half),
                    parent["cost"] * len(half) / parent["rows"],
                    batch,
                    parent["retry"],
                ),
            )
    return True


def fail(database: Database, batch: int, code: RowError, message: str) -> bool:
    """Record every row of a pending batch as failed: pending → failed. False if it moved on meanwhile."""
    with database.transaction() as connection:
        row = connection.execute(
            "UPDATE batches b SET state = 'failed', fence = b.fence + 1, finished_at = clock_timestamp() FROM jobs j "
            "WHERE b.id = %s AND b.state = 'pending' AND j.id = b.job_id "
            "RETURNING b.job_id, j.corpus_id, j.task, j.samples, b.first_row, b.end_row, b.only_rows, b.retry",
            (batch,),
        ).fetchone()
        if row is None:
            return False
        task = Task(row["task"])
        replaced: set[tuple[int, int]] = set()
        if row["retry"]:
            replaced = remove_failures(connection, task, row["job_id"], row["only_rows"])
        sample = ("sample, ", "s, ") if task is Task.GENERATE else ("", "")
        inserted = connection.execute(
            f"INSERT INTO {table_of(task)} (job_id, row, {sample[0]}batch_id, error_code, error) "
            f"SELECT %(job_id)s, i.row, {sample[1]}%(batch)s, coalesce(i.error_code, %(code)s), "
            "coalesce(i.error, %(message)s) FROM items i CROSS JOIN generate_series(0, %(samples)s - 1) AS s "
            f"WHERE {IN_BATCH} ON CONFLICT DO NOTHING",
            {**row, "batch": batch, "code": code.value, "message": message},
        )
        count(connection, row["job_id"], batch, 0, inserted.rowcount, len(replaced))
    return True
