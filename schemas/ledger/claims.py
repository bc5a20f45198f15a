"""The worker's transitions of a batch: claim, complete, and hand back. All are conditional on the fence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import tuple_row

from schemas.database import Connection, Database
from schemas.errors import RowError, StaleFence
from schemas.items import Content, Item, Molecule, Paper, Prompt, Rejected, Task, Training
from schemas.ledger.outcomes import IN_BATCH, count, remove_failures, write
from schemas.message import BatchMessage
from schemas.outcomes import Failed, Outcome


@dataclass(frozen=True, slots=True)
class ClaimedBatch:
    """A batch that this worker holds, with its items. `samples` outcomes are due for each item."""

    id: int
    fence: int
    job: int
    task: Task
    model: int
    parameters: dict[str, Any]
    samples: int
    weight: float
    retry: bool
    sent_at: datetime  # when the dispatcher handed it over, by PostgreSQL's clock
    items: tuple[Item, ...]

    @property
    def due(self) -> int:
        """Outcomes that complete this batch."""
        return len(self.items) * self.samples


def claim(database: Database, message: BatchMessage, lease: int, *, repeated: bool = False) -> ClaimedBatch | None:
    """Take a batch: queued → running, held by `lease`. None if the message is stale, repeated, or no longer wanted.

    After ServerUnavailable call again with `repeated`: a claim whose answer was lost on the way is then found.
    """
    wanted = {"batch": message.batch, "fence": message.fence, "lease": lease}
    with database.transaction() as connection:
        claimed = connection.execute(
            "UPDATE batches b SET state = 'running', lease_id = %(lease)s, started_at = clock_timestamp() FROM jobs j "
            "WHERE b.id = %(batch)s AND b.fence = %(fence)s AND b.state = 'queued' "
            "AND j.id = b.job_id AND j.state = 'running' "
            "AND EXISTS (SELECT 1 FROM leases l WHERE l.id = %(lease)s AND l.closed_at IS NULL)",
            wanted,
        )
        if claimed.rowcount == 0 and not repeated:
            return None
        row = connection.execute(
            "SELECT b.id, b.fence, b.job_id, j.task, j.model_id, j.parameters, j.samples, j.weight, b.retry, "
            "b.dispatched_at, j.corpus_id, b.first_row, b.end_row, b.only_rows "
            "FROM batches b JOIN jobs j ON j.id = b.job_id "
            "WHERE b.id = %(batch)s AND b.fence = %(fence)s AND b.state = 'running' AND b.lease_id = %(lease)s",
            wanted,
        ).fetchone()
        if row is None:
            return None
        task = Task(row["task"])
        items = _items(connection, task, row)
    return ClaimedBatch(
        id=row["id"],
        fence=row["fence"],
        job=row["job_id"],
        task=task,
        model=row["model_id"],
        parameters=row["parameters"],
        samples=row["samples"],
        weight=row["weight"],
        retry=row["retry"],
        sent_at=row["dispatched_at"],
        items=items,
    )


def decline(database: Database, message: BatchMessage) -> bool:
    """Hand a message back unclaimed: queued → pending. False if it was stale."""
    with database.transaction() as connection:
        handed = connection.execute(
            "UPDATE batches SET state = 'pending', fence = fence + 1 WHERE id = %s AND fence = %s AND state = 'queued'",
            (message.batch, message.fence),
        )
    return handed.rowcount == 1


def complete(database: Database, batch: ClaimedBatch, results: Sequence[Outcome]) -> None:
    """Record a batch's outcomes and that it is done, in one transaction. Safe to repeat after a lost answer.

    Raises:
        StaleFence: the batch was handed over again, cancelled or split; nothing was written.
        ValueError: the outcomes are not exactly one for each row and sample.
    """
    due = {(item.row, sample) for item in batch.items for sample in range(batch.samples)}
    if len(results) != batch.due or {(result.row, result.sample) for result in results} != due:
        raise ValueError(f"batch {batch.id}: {len(results)} outcomes do not answer its {batch.due} rows one by one")
    with database.transaction() as connection:
        done = connection.execute(
            "UPDATE batches SET state = 'done', finished_at = clock_timestamp() "
            "WHERE id = %s AND fence = %s AND state = 'running'",
            (batch.id, batch.fence),
        )
        if done.rowcount == 0:
            _require_done(connection, batch)
            return
        replaced: set[tuple[int, int]] = set()
        if batch.retry:
            rows = [item.row for item in batch.items]
            replaced = remove_failures(connection, batch.task, batch.job, rows)
            results = [result for result in results if (result.row, result.sample) in replaced]
        write(connection, batch.task, batch.job, batch.id, results)
        failed = sum(isinstance(result, Failed) for result in results)
        count(connection, batch.job, batch.id, len(results) - failed, failed, len(replaced))
        # What may have been the job's last batch wakes the dispatcher, which then sees the job's end at once.
        connection.execute(
            "SELECT pg_notify('sciqueue', '') WHERE NOT EXISTS "
            "(SELECT FROM batches WHERE job_id = %s AND state = 'pending')",
            (batch.job,),
        )


def release(database: Database, batch: ClaimedBatch) -> bool:
    """Hand a batch back unfinished: running → pending, blaming nobody. False if it was no longer held."""
    with database.transaction() as connection:
        return _hand_back(connection, batch, crashes=0)


def refuse(database: Database, batch: ClaimedBatch, need: int) -> bool:
    """Hand a batch back whose model does not fit into its worker: as `release`, and larger workers get the model now.

    `need` is the bytes that it needs at least. If the worker said to have as many, which did not do, the model is taken
    to need a sixteenth more than that.
    """
    with database.transaction() as connection:
        connection.execute(
            "UPDATE models m SET need = greatest(m.need, CASE WHEN %(need)s <= l.memory THEN l.memory + l.memory / 16 "
            "ELSE %(need)s END) FROM batches b JOIN leases l ON l.id = b.lease_id "
            "WHERE m.id = %(model)s AND b.id = %(batch)s AND b.fence = %(fence)s AND b.state = 'running'",
            {"need": need, "model": batch.model, "batch": batch.id, "fence": batch.fence},
        )
        return _hand_back(connection, batch, crashes=0)


def give_up(database: Database, batch: ClaimedBatch) -> bool:
    """Hand back a batch that ran past its deadline: as `release`, but counted like a crash."""
    with database.transaction() as connection:
        return _hand_back(connection, batch, crashes=1)


def _hand_back(connection: Connection, batch: ClaimedBatch, crashes: int) -> bool:
    handed = connection.execute(
        "UPDATE batches SET state = 'pending', fence = fence + 1, lease_id = NULL, crashes = crashes + %s "
        "WHERE id = %s AND fence = %s AND state = 'running'",
        (crashes, batch.id, batch.fence),
    )
    return handed.rowcount == 1


def _require_done(connection: Connection, batch: ClaimedBatch) -> None:
    """Tell a repeated `complete` whose first answer was lost from one that came too late."""
    row = connection.execute("SELECT state, fence FROM batches WHERE id = %s", (batch.id,)).fetchone()
    if row is None or row["state"] != "done" or row["fence"] != batch.fence:
        raise StaleFence(f"batch {batch.id} was handed over again since fence {batch.fence}")


# The column that a task works on, and how its content is made of it.
_CONTENT: dict[Task, tuple[str, Callable[[Any], Content | Training]]] = {
    Task.PREDICT: ("smiles", Molecule),
    Task.GENERATE: ("smiles", Prompt),
    Task.SUMMARIZE: ("paper", Paper.from_json),
    Task.TRAIN: ("custom_id", Training),
}


def _items(connection: Connection, task: Task, batch: dict[str, Any]) -> tuple[Item, ...]:
    """A batch's items; every row of a job passes here."""
    column, made = _CONTENT[task]
    rows = connection.cursor(binary=True, row_factory=tuple_row).execute(
        f"SELECT i.row, i.custom_id, i.{column}, i.error_code, i.error FROM items i WHERE {IN_BATCH} ORDER BY i.row",
        batch,
    )
    return tuple(
        Item(row, made(content) if code is None else Rejected(RowError(code), error), custom_id)
        for row, custom_id, content, code, error in rows
    )
