"""How work and workers stand, in one transaction: from tallies and live rows, never by counting outcomes."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.database import Database
from schemas.ledger.progress import JobProgress, recent


@dataclass(frozen=True, slots=True)
class Gauges:
    """One reading: jobs that are live or ended within the last hour, live batches by state, live workers."""

    jobs: list[JobProgress]
    batches: dict[str, int]
    workers: int


def read(database: Database) -> Gauges:
    """Read everything once. Every dispatcher reads the same."""
    with database.transaction() as connection:
        jobs = recent(connection)
        batches = connection.execute(
            "SELECT state, count(*) AS n FROM batches WHERE state IN ('pending', 'queued', 'running') GROUP BY state"
        ).fetchall()
        workers = connection.execute(
            "SELECT count(*) AS n FROM leases WHERE closed_at IS NULL AND expires_at > clock_timestamp()"
        ).fetchone()
    assert workers is not None  # noqa: S101 -- a count has a row
    return Gauges(jobs, {row["state"]: row["n"] for row in batches}, workers["n"])
