"""The view of a model's predictions with one column an endpoint; the other views are made by the migrations."""

from __future__ import annotations

import re
from collections.abc import Sequence

import psycopg
from psycopg import sql

from schemas.database import Connection

_LOCK = 0x5C1_0EF  # any number of our own: PostgreSQL does not let two sessions replace a view at once
_FIXED = ("job_id", "row", "custom_id", "smiles", "standardized", "inchikey")


def wide_view_name(model: str) -> str:
    """The view that unfolds a model's predictions to one column an endpoint: `predictions_<model>`."""
    return "predictions_" + re.sub(r"[^a-z0-9]+", "_", model.lower())


def _column_of(endpoint: str) -> str:
    """An endpoint's column; one that is named like a column that every such view has gets a suffix."""
    return f"{endpoint}_value" if endpoint in _FIXED else endpoint


def create_wide_view(connection: Connection, model: str, endpoints: Sequence[str]) -> None:
    """Make the view for a model whose endpoints are these; a later revision with other endpoints replaces it."""
    view = sql.Identifier("analysis", wide_view_name(model))
    columns = sql.SQL(", ").join(
        sql.SQL('p."values"[{}] AS {}').format(sql.Literal(place), sql.Identifier(_column_of(name)))
        for place, name in enumerate(endpoints, start=1)
    )
    query = sql.SQL(
        " VIEW {} AS SELECT p.job_id, p.row, i.custom_id, i.smiles, p.standardized, p.inchikey, {} "
        "FROM sciqueue.predictions p JOIN sciqueue.jobs j ON j.id = p.job_id "
        "JOIN sciqueue.models m ON m.id = j.model_id "
        "JOIN sciqueue.items i ON i.corpus_id = j.corpus_id AND i.row = p.row "
        "WHERE p.error_code IS NULL AND m.name = {} AND m.endpoints = {}"
    ).format(view, columns, sql.Literal(model), sql.Literal(list(endpoints)))
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    try:
        with connection.transaction():  # in place where the columns stay, since analysts' own views may stand on it
            connection.execute(sql.SQL("CREATE OR REPLACE") + query)
    except psycopg.errors.InvalidTableDefinition:
        connection.execute(sql.SQL("DROP VIEW {}").format(view))
        connection.execute(sql.SQL("CREATE") + query)
