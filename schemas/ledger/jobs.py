"""What happens to a whole job: open, pause, resume, cancel, retry, finish, reopen, delete."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg.types.json import Jsonb

from schemas.database import Connection, Database
from schemas.errors import Conflict, NotFound
from schemas.items import Task
from schemas.ledger.cuts import slices
from schemas.ledger.outcomes import table_of
from schemas.registry import ModelEntry
from schemas.states import TALLY_SHARDS, JobState, Priority
from schemas.views import create_wide_view

# Three conditions, so that each finds its partial index.
_COMPLETE = (
    "j.state IN ('running', 'paused') AND c.sealed_at IS NOT NULL AND j.cut_row = c.loaded "
    "AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.job_id = j.id AND b.state = 'pending') "
    "AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.job_id = j.id AND b.state = 'queued') "
    "AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.job_id = j.id AND b.state = 'running')"
)


def pin_model(database: Database, entry: ModelEntry, revision: str, need: int | None = None) -> int:
    """Record a model as it is now, and return its id. The same name and revision is the same model.

    `need`: bytes of its weights; None where they are not known, so that what workers have learnt stays.
    """
    endpoints = [endpoint.name for endpoint in entry.endpoints]
    with database.transaction() as connection:
        # What decides the numbers is in the revision; limits and the like may have been tuned since.
        pinned = connection.execute(
            "INSERT INTO models (name, revision, task, entry, endpoints, need) VALUES (%s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (name, revision) DO UPDATE SET entry = EXCLUDED.entry, "
            "need = coalesce(EXCLUDED.need, models.need) RETURNING id, xmax = 0 AS new",
            (entry.name, revision, entry.task.value, Jsonb(entry.model_dump(mode="json")), endpoints, need),
        ).fetchone()
        assert pinned is not None  # noqa: S101 - INSERT … RETURNING gives a row or raises
        if pinned["new"] and endpoints:
            create_wide_view(connection, entry.name, endpoints)
    return int(pinned["id"])


def open_job(
    database: Database,
    corpus: int,
    model: int,
    entry: ModelEntry,
    parameters: dict[str, Any],
    *,
    samples: int = 1,
    priority: Priority = Priority.NORMAL,
    batch_rows: int | None = None,
    again: bool = False,
) -> tuple[int, bool]:
    """Open a job, or find the one that does the same work already. Returns its id and whether it is new.

    The same corpus, model revision and parameters are the same job, unless that was cancelled or `again` is set.

    Raises:
        NotFound: there is no such corpus (its last job may just have been deleted, and it with that).
    """
    with database.transaction() as connection:
        lock = connection.execute("SELECT 1 FROM corpora WHERE id = %s FOR UPDATE", (corpus,))  # one at a time
        if lock.rowcount == 0:
            raise NotFound(f"no corpus {corpus}; submit its file again")
        if not again:
            same = connection.execute(
                "SELECT id FROM jobs WHERE corpus_id = %s AND model_id = %s AND parameters = %s "
                "AND state <> 'cancelled' ORDER BY id DESC LIMIT 1",
                (corpus, model, Jsonb(parameters)),
            ).fetchone()
            if same is not None:
                return int(same["id"]), False
        opened = connection.execute(
            "INSERT INTO jobs (corpus_id, model_id, task, parameters, samples, weight, batch_rows, batch_size) VALUES "
            "(%(corpus)s, %(model)s, %(task)s, %(parameters)s, %(samples)s, %(weight)s, %(rows)s, %(size)s) "
            "RETURNING id",
            {
                "corpus": corpus,
                "model": model,
                "task": entry.task.value,
                "parameters": Jsonb(parameters),
                "samples": samples,
                "weight": priority.weight,
                "rows": batch_rows or entry.limits.batch_rows,
                "size": entry.limits.batch_size,
            },
        ).fetchone()
        assert opened is not None  # noqa: S101 - INSERT … RETURNING gives a row or raises
        job = int(opened["id"])
        connection.execute(
            "INSERT INTO tallies (job_id, shard) SELECT %s, generate_series(0, %s)", (job, TALLY_SHARDS - 1)
        )
        connection.execute("NOTIFY sciqueue")
    return job, True


def pause(database: Database, job: int, reason: str | None = None) -> None:
    """Hold a job's work back: what is queued returns to pending; what is running ends in its own time.

    Raises:
        Conflict: the job has ended.  NotFound: there is none.
    """
    with database.transaction() as connection:
        _move(connection, job, {JobState.RUNNING, JobState.PAUSED}, JobState.PAUSED, reason)
        connection.execute(
            "UPDATE batches SET state = 'pending', fence = fence + 1 WHERE job_id = %s AND state = 'queued'", (job,)
        )


def resume(database: Database, job: int) -> None:
    """Let a paused job go on.

    Raises:
        Conflict: the job has ended.  NotFound: there is none.
    """
    with database.transaction() as connection:
        _move(connection, job, {JobState.RUNNING, JobState.PAUSED}, JobState.RUNNING)


def cancel(database: Database, job: int) -> None:
    """End a job: its outcomes stay, its other rows are never computed, and late results are refused.

    Raises:
        Conflict: the job is done.  NotFound: there is none.
    """
    with database.transaction() as connection:
        _move(connection, job, {JobState.RUNNING, JobState.PAUSED, JobState.CANCELLED}, JobState.CANCELLED)
        connection.execute(
            "UPDATE batches SET state = 'cancelled', fence = fence + 1, finished_at = clock_timestamp() "
            "WHERE job_id = %s AND state IN ('pending', 'queued', 'running')",
            (job,),
        )
        connection.execute("UPDATE tallies SET retrying = 0 WHERE job_id = %s", (job,))


def retry(database: Database, job: int, codes: Sequence[str] = ()) -> int:
    """Compute a done job's failed rows again (those with one of `codes`, if given); returns how many outcomes.

    Rows that were rejected while loading stay as they are. A failure is replaced when its new outcome is there.

    Raises:
        Conflict: the job is not done.  NotFound: there is none.
    """
    with database.transaction() as connection:
        state = _move(connection, job, {JobState.DONE}, JobState.DONE)
        table = table_of(Task(state["task"]))
        failed = connection.execute(
            f"SELECT o.row, i.size, count(*) AS outcomes FROM {table} o "
            "JOIN items i ON i.corpus_id = %s AND i.row = o.row AND i.error_code IS NULL "
            "WHERE o.job_id = %s AND o.error_code IS NOT NULL GROUP BY o.row, i.size "
            # A row is computed as a whole, so all its failures are replaced when one of them is asked for.
            "HAVING %s::text[] = '{}' OR bool_or(o.error_code = ANY(%s)) ORDER BY o.row",
            (state["corpus_id"], job, list(codes), list(codes)),
        ).fetchall()
        outcomes = sum(row["outcomes"] for row in failed)
        if not outcomes:
            return 0
        sizes = [(row["row"], row["size"]) for row in failed]
        connection.cursor().executemany(
            "INSERT INTO batches (job_id, first_row, end_row, only_rows, rows, cost, retry) "
            "VALUES (%s, %s, %s, %s, %s, %s, true)",
            [
                (job, part[0], part[-1] + 1, part, len(part), cost * state["samples"])
                for part, cost in slices(sizes, state["batch_rows"], state["batch_size"])
            ],
        )
        # Only the sum over the shards is zero here: those that were counted down stand below.
        connection.execute(
            "UPDATE tallies SET retrying = retrying + %s WHERE job_id = %s AND shard = 0", (outcomes, job)
        )
        connection.execute("UPDATE jobs SET state = 'running', finished_at = NULL WHERE id = %s", (job,))
    return int(outcomes)


def finish(database: Database) -> list[int]:
    """End the jobs whose corpus is sealed, cut to its end, and without a live batch; returns their ids."""
    with database.transaction() as connection:
        ready = connection.execute(
            f"SELECT j.id FROM jobs j JOIN corpora c ON c.id = j.corpus_id WHERE {_COMPLETE} "
            "FOR UPDATE OF j SKIP LOCKED"
        ).fetchall()
        if not ready:
            return []
        # Looked at once more under the lock: another dispatcher may have ended the job, and a retry begun it anew.
        done = connection.execute(
            "UPDATE jobs j SET state = 'done', reason = NULL, finished_at = clock_timestamp() FROM corpora c "
            f"WHERE j.id = ANY(%s) AND c.id = j.corpus_id AND {_COMPLETE} RETURNING j.id",
            ([row["id"] for row in ready],),
        ).fetchall()
    return [row["id"] for row in done]


def any_complete(connection: Connection) -> bool:
    """Whether `finish` may find a job to end."""
    row = connection.execute(
        f"SELECT EXISTS (SELECT FROM jobs j JOIN corpora c ON c.id = j.corpus_id WHERE {_COMPLETE}) AS complete"
    ).fetchone()
    return bool(row and row["complete"])


def reopen(database: Database, job: int) -> None:
    """Let a job's sealed corpus grow again; a job that was done waits for the rows to come.

    Raises:
        Conflict: the job was cancelled, or another one stands on the same corpus and would no longer be complete.
        NotFound: there is none.
    """
    with database.transaction() as connection:
        state = _move(connection, job, {JobState.RUNNING, JobState.PAUSED, JobState.DONE}, None)
        corpus = state["corpus_id"]
        connection.execute("SELECT 1 FROM corpora WHERE id = %s FOR UPDATE", (corpus,))  # nobody joins it meanwhile
        other = connection.execute(
            "SELECT id FROM jobs WHERE corpus_id = %s AND id <> %s AND state <> 'cancelled' LIMIT 1", (corpus, job)
        ).fetchone()
        if other is not None:
            raise Conflict(f"job {other['id']} stands on the same corpus as job {job}, which so cannot grow; delete it")
        connection.execute("UPDATE corpora SET sealed_at = NULL WHERE id = %s", (corpus,))
        connection.execute(
            "UPDATE jobs SET state = 'running', finished_at = NULL WHERE id = %s AND state = 'done'", (job,)
        )


def delete(database: Database, job: int) -> None:
    """Remove an ended job with its outcomes, and its corpus if no other job uses it.

    Raises:
        Conflict: the job has not ended.  NotFound: there is none.
    """
    with database.transaction() as connection:
        state = _move(connection, job, {JobState.DONE, JobState.CANCELLED}, None)
        connection.execute(f"DELETE FROM {table_of(Task(state['task']))} WHERE job_id = %s", (job,))
        connection.execute("DELETE FROM batches WHERE job_id = %s", (job,))
        connection.execute("DELETE FROM tallies WHERE job_id = %s", (job,))
        connection.execute("DELETE FROM jobs WHERE id = %s", (job,))
        # Locked first, so that the next look sees a job that was just opened, or deleted, beside this one.
        connection.execute("SELECT 1 FROM corpora WHERE id = %s FOR UPDATE", (state["corpus_id"],))
        orphan = connection.execute(
            "DELETE FROM corpora c WHERE id = %s AND NOT EXISTS (SELECT 1 FROM jobs WHERE corpus_id = c.id)",
            (state["corpus_id"],),
        )
        if orphan.rowcount:
            connection.execute("DELETE FROM items WHERE corpus_id = %s", (state["corpus_id"],))


def _move(
    connection: Connection, job: int, allowed: set[JobState], to: JobState | None, reason: str | None = None
) -> dict[str, Any]:
    """Lock a job, check that its state allows the change, and make it (None: only check)."""
    row = connection.execute(
        "SELECT state, task, corpus_id, batch_rows, batch_size, samples FROM jobs WHERE id = %s FOR UPDATE", (job,)
    ).fetchone()
    if row is None:
        raise NotFound(f"no job {job}; 'sciqueue jobs' lists those there are")
    if JobState(row["state"]) not in allowed:
        wanted = " or ".join(sorted(state.value for state in allowed))
        raise Conflict(f"job {job} is {row['state']}; this needs a job that is {wanted}")
    if to is not None:
        connection.execute(
            "UPDATE jobs SET state = %s, reason = %s, finished_at = CASE WHEN %s THEN "
            "coalesce(finished_at, clock_timestamp()) END WHERE id = %s",
            (to.value, reason, to in {JobState.DONE, JobState.CANCELLED}, job),
        )
        connection.execute("NOTIFY sciqueue")
    return row
