"""All that is to be known about one job, read in one go: counts, why rows failed, where its batches are, who works."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from producer.serving import lack, serves
from schemas.database import Connection, Database
from schemas.ledger import leases, progress
from schemas.ledger.progress import JobProgress

FIRST = 10  # failures shown one by one


@dataclass(frozen=True, slots=True)
class FailedRow:
    """One failed row; `row` counts from 0 in the source's order, `sample` is 0 but for generation."""

    row: int
    sample: int
    custom_id: str | None
    error_code: str
    error: str


@dataclass(frozen=True, slots=True)
class JobReport:
    """A job's state. `failures` counts by code, `batches` by state; `workers` are the live ones that can serve it.

    `missing` says why there are none, if so.
    """

    progress: JobProgress
    failures: dict[str, int]
    first_failures: list[FailedRow]
    batches: dict[str, int]
    workers: list[dict[str, Any]]
    missing: str | None

    def to_json(self) -> dict[str, Any]:
        """One flat object, its keys those of `progress` and of this report."""
        job = self.progress
        rest = asdict(self)
        counts: dict[str, Any] = rest.pop("progress")
        return counts | {"done": job.done, "outstanding": job.outstanding} | rest


def read(database: Database, job: int) -> JobReport:
    """Read a job's report; costs as much as it has failures and batches, not rows.

    Raises:
        NotFound: there is no such job.
    """
    standing = progress.of_job(database, job)
    with database.transaction() as connection:
        failures = progress.failures_by_code(connection, job, standing.task)
        first = _first_failures(connection, job) if failures else []
        batches = connection.execute(
            "SELECT state, count(*) AS n FROM batches WHERE job_id = %s GROUP BY state ORDER BY state", (job,)
        ).fetchall()
    live = leases.live(database)
    workers = [lease for lease in live if serves(standing, (lease["queues"], lease["memory"]))]
    missing = lack(standing, [(lease["queues"], lease["memory"]) for lease in live])
    return JobReport(standing, failures, first, {row["state"]: row["n"] for row in batches}, workers, missing)


def _first_failures(connection: Connection, job: int) -> list[FailedRow]:
    rows = connection.execute(
        "SELECT row, sample, custom_id, error_code, error FROM analysis.failures WHERE job_id = %s "
        "ORDER BY row, sample LIMIT %s",
        (job, FIRST),
    ).fetchall()
    return [FailedRow(**row) for row in rows]
