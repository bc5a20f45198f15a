"""What workers learnt of a model's cost on a type of device, kept for those that start later."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from schemas.database import Database


def recall(database: Database, model: int, device: str) -> dict[str, Any] | None:
    """What was learnt last, by whichever worker; None before anything was."""
    with database.transaction() as connection:
        row = connection.execute(
            "SELECT learnt FROM costs WHERE model_id = %s AND device = %s", (model, device)
        ).fetchone()
    return None if row is None else row["learnt"]


def remember(
    database: Database, model: int, device: str, learnt: dict[str, Any], row_seconds: float | None = None
) -> None:
    """Keep what was learnt; of two workers with one type of device the later one counts.

    `row_seconds` is how long the device computed for an outcome, on average; None leaves what is known of that.
    """
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO costs (model_id, device, learnt, row_seconds, updated_at) "
            "VALUES (%s, %s, %s, %s, clock_timestamp()) "
            "ON CONFLICT (model_id, device) DO UPDATE SET learnt = excluded.learnt, updated_at = excluded.updated_at, "
            "row_seconds = coalesce(excluded.row_seconds, costs.row_seconds)",
            (model, device, Jsonb(learnt), row_seconds),
        )
