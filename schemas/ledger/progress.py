"""Reading how jobs stand. The cost does not grow with their rows: counts come from a few tally rows a job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.database import Connection, Database
from schemas.errors import NotFound
from schemas.items import Task
from schemas.states import JobState


@dataclass(frozen=True, slots=True)
class JobProgress:
    """A job's counts, in outcomes: `total` is rows times samples, and grows until the corpus is `sealed`.

    `need` is the bytes that a worker must have for its model, where that is known.
    """

    id: int
    corpus: str
    corpus_id: int
    task: Task
    model: str
    revision: str
    need: int | None
    parameters: dict[str, Any]
    state: JobState
    reason: str | None
    sealed: bool
    total: int
    succeeded: int
    failed: int
    retrying: int
    created_at: datetime
    finished_at: datetime | None
    step: int | None = None  # of a training run, of so many
    steps: int | None = None

    @property
    def done(self) -> int:
        """Outcomes that are final for now."""
        return self.succeeded + self.failed - self.retrying

    @property
    def outstanding(self) -> int:
        """Outcomes still to come; none once the job has ended."""
        return 0 if self.ended else self.total - self.done

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.state in {JobState.DONE, JobState.CANCELLED}


_QUERY = """
SELECT j.id, c.name AS corpus, j.corpus_id, j.task, m.name AS model, m.revision, m.need, j.parameters, j.state,
       j.reason, c.sealed_at IS NOT NULL AS sealed, c.loaded * j.samples AS total,
       t.succeeded, t.failed, t.retrying, j.created_at, j.finished_at, j.step, j.steps
FROM jobs j
JOIN corpora c ON c.id = j.corpus_id
JOIN models m ON m.id = j.model_id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(succeeded), 0)::int8 AS succeeded, coalesce(sum(failed), 0)::int8 AS failed,
           coalesce(sum(retrying), 0)::int8 AS retrying
    FROM tallies WHERE job_id = j.id
) t
"""


def of_job(database: Database, job: int) -> JobProgress:
    """How one job stands.

    Raises:
        NotFound: there is no such job.
    """
    with database.transaction() as connection:
        row = connection.execute(_QUERY + "WHERE j.id = %s", (job,)).fetchone()
    if row is None:
        raise NotFound(f"no job {job}; 'sciqueue jobs' lists those there are")
    return _progress(row)


def of_jobs(database: Database, *, limit: int = 50, live_only: bool = False) -> list[JobProgress]:
    """The newest jobs, newest first."""
    condition = "WHERE j.state IN ('running', 'paused') " if live_only else ""
    with database.transaction() as connection:
        rows = connection.execute(_QUERY + condition + "ORDER BY j.id DESC LIMIT %s", (limit,)).fetchall()
    return [_progress(row) for row in rows]


def recent(connection: Connection) -> list[JobProgress]:
    """The jobs that are live or have ended within the last hour."""
    rows = connection.execute(
        _QUERY + "WHERE j.state IN ('running', 'paused') OR j.finished_at > clock_timestamp() - interval '1 hour' "
        "ORDER BY j.id"
    ).fetchall()
    return [_progress(row) for row in rows]


def failures_by_code(connection: Connection, job: int, task: Task) -> dict[str, int]:
    """How many of a job's failures have which reason; costs as much as there are failures."""
    from schemas.ledger.outcomes import table_of

    rows = connection.execute(
        f"SELECT error_code, count(*) AS n FROM {table_of(task)} "
        "WHERE job_id = %s AND error_code IS NOT NULL GROUP BY error_code ORDER BY n DESC, error_code",
        (job,),
    ).fetchall()
    return {row["error_code"]: row["n"] for row in rows}


def _progress(row: dict[str, Any]) -> JobProgress:
    return JobProgress(**{**row, "task": Task(row["task"]), "state": JobState(row["state"])})
