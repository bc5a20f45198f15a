"""How work and workers stand, in one transaction: from tallies, live rows and indexed ones, never by counting outcomes.

Failures by reason are the exception: they cost as much as there are failures, and are counted anew only when a job has
more, or fewer.
"""

from __future__ import annotations

from dataclasses import dataclass

from schemas.database import Connection, Database
from schemas.ledger import roster
from schemas.ledger.progress import JobProgress, failures_by_code, recent


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What running jobs have left for a model; None where nobody knows what it costs."""

    task: str
    queue: str
    model: str
    rows: int
    device_seconds: float | None


@dataclass(frozen=True, slots=True)
class Gauges:
    """One reading. Jobs are those that are live or ended within the last hour; `failures` (by reason) and `crashes`
    are theirs by id; batches by state, those of paused jobs apart; `deaths` of workers by name, within the last hour;
    `given_up` are the names of those that are not started again.
    """

    jobs: list[JobProgress]
    failures: dict[int, dict[str, int]]
    crashes: dict[int, int]
    batches: dict[str, int]
    outstanding: list[Outstanding]
    workers: int
    deaths: dict[str, int]
    given_up: list[str]


class GaugeReader:
    """Reads everything once at each call. Every dispatcher reads the same."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._failures: dict[int, tuple[object, dict[str, int]]] = {}  # by job: when it stood so, these they were

    def read(self) -> Gauges:
        """One reading; one at a time.

        Raises:
            ServerUnavailable: PostgreSQL is away.
        """
        with self._database.transaction() as connection:
            jobs = recent(connection)
            return Gauges(
                jobs=jobs,
                failures=self._count_failures(connection, jobs),
                crashes=_crashes(connection, [job.id for job in jobs]),
                batches=_batches(connection),
                outstanding=_outstanding(connection),
                workers=_workers(connection),
                deaths=_deaths(connection),
                given_up=roster.given_up(connection),
            )

    def _count_failures(self, connection: Connection, jobs: list[JobProgress]) -> dict[int, dict[str, int]]:
        known, self._failures = self._failures, {}
        for job in jobs:
            standing = (job.failed, job.retrying, job.finished_at)  # a retry may put as many others in their place
            if job.id in known and known[job.id][0] == standing:
                self._failures[job.id] = known[job.id]
            else:
                codes = failures_by_code(connection, job.id, job.task) if job.failed else {}
                self._failures[job.id] = (standing, codes)
        return {job: codes for job, (_, codes) in self._failures.items()}


def _crashes(connection: Connection, jobs: list[int]) -> dict[int, int]:
    """How often batches were in hand when their process died, or were given up. A half inherits one of its whole."""
    rows = connection.execute(
        "SELECT job_id, sum(crashes - (parent_id IS NOT NULL)::int) AS n FROM batches "
        "WHERE crashes > 0 AND job_id = ANY(%s) GROUP BY job_id",
        (jobs,),
    ).fetchall()
    return {row["job_id"]: row["n"] for row in rows}


def _batches(connection: Connection) -> dict[str, int]:
    rows = connection.execute(
        "SELECT CASE WHEN b.state = 'pending' AND j.state = 'paused' THEN 'paused' ELSE b.state END AS state, "
        "sum(b.n)::int8 AS n FROM (SELECT job_id, state, count(*) AS n FROM batches "
        "WHERE state IN ('pending', 'queued', 'running') GROUP BY job_id, state) b "
        "JOIN jobs j ON j.id = b.job_id GROUP BY 1"
    ).fetchall()
    return {row["state"]: row["n"] for row in rows}


def _outstanding(connection: Connection) -> list[Outstanding]:
    rows = connection.execute("SELECT task, queue, model, rows, device_seconds FROM analysis.outstanding").fetchall()
    return [Outstanding(**row) for row in rows]


def _workers(connection: Connection) -> int:
    row = connection.execute(
        "SELECT count(*) AS n FROM leases WHERE closed_at IS NULL AND expires_at > clock_timestamp()"
    ).fetchone()
    assert row is not None  # noqa: S101 -- a count has a row
    return int(row["n"])


def _deaths(connection: Connection) -> dict[str, int]:
    rows = connection.execute(
        "SELECT worker, count(*) AS n FROM leases WHERE closed_for = 'lapsed' "
        "AND closed_at > clock_timestamp() - interval '1 hour' GROUP BY worker"
    ).fetchall()
    return {row["worker"]: row["n"] for row in rows}
