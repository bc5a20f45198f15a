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


def remember(database: Database, model: int, device: str, learnt: dict[str, Any]) -> None:
    """Keep what was learnt; of two workers with one type of device the later one counts."""
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO costs (model_id, device, learnt, updated_at) VALUES (%s, %s, %s, clock_timestamp()) "
            "ON CONFLICT (model_id, device) DO UPDATE SET learnt = excluded.learnt, updated_at = excluded.updated_at",
            (model, device, Jsonb(learnt)),
        )
