"""Evaluations in PostgreSQL: added once, read by job or by model. They outlive their job."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from producer.evaluation.metric import Evaluation, Report
from producer.evaluation.outcomes import Finished
from schemas.database import Connection, Database

_SELECT = (
    "SELECT e.id, e.job_id AS job, e.corpus, m.task, m.name AS model, m.revision, e.report, e.versions, e.created_at "
    "FROM evaluations e JOIN models m ON m.id = e.model_id"
)


def add(database: Database, judged: Finished, report: Report, versions: dict[str, str]) -> Evaluation:
    """Keep an evaluation. Judging a job again adds another; the newest counts."""
    with database.transaction() as connection:
        row = connection.execute(
            "INSERT INTO evaluations (job_id, model_id, corpus, report, versions) VALUES (%s, %s, %s, %s, %s) "
            "RETURNING id",
            (
                judged.progress.id,
                judged.model_id,
                judged.progress.corpus,
                Jsonb(report.model_dump(mode="json")),
                Jsonb(versions),
            ),
        ).fetchone()
        assert row is not None  # noqa: S101 - INSERT … RETURNING gives a row or raises
        return _read(connection, "e.id = %s", (row["id"],))[0]


def of_job(database: Database, job: int) -> list[Evaluation]:
    """A job's evaluations, newest first."""
    with database.transaction() as connection:
        return _read(connection, "e.job_id = %s", (job,))


def newest(database: Database, limit: int = 50) -> list[Evaluation]:
    """The newest evaluations of all jobs, newest first."""
    with database.transaction() as connection:
        return _read(connection, "true", (), limit)


def of_models(database: Database) -> dict[tuple[str, str], Evaluation]:
    """The newest evaluation of each model, by name and revision."""
    latest = "e.id IN (SELECT max(id) FROM evaluations GROUP BY model_id)"
    with database.transaction() as connection:
        return {(one.model, one.revision): one for one in _read(connection, latest, ())}


def _read(
    connection: Connection, condition: str, values: tuple[Any, ...], limit: int | None = None
) -> list[Evaluation]:
    found = connection.execute(f"{_SELECT} WHERE {condition} ORDER BY e.id DESC LIMIT %s", (*values, limit)).fetchall()
    return [Evaluation.model_validate({**row.pop("report"), **row}) for row in found]
