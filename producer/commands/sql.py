"""`sciqueue sql`: a read-only look at the analysts' views, for whoever has no psql at hand."""

from __future__ import annotations

from typing import Annotated, Any

import psycopg
import typer

from producer import display
from producer.commands.common import RESULTS, AsJson, opened, print_json
from schemas.command import examples
from schemas.endpoints import find_database
from schemas.errors import UsageError
from schemas.settings import load_settings


def register(app: typer.Typer) -> None:
    """Join the `sciqueue` command."""
    app.command(
        rich_help_panel=RESULTS,
        epilog=examples(
            'sciqueue sql "SELECT * FROM analysis.jobs"',
            "sciqueue sql \"SELECT smiles, value FROM analysis.predictions WHERE endpoint = 'hERG' LIMIT 5\"",
            'psql "$(sciqueue sql --url)" # or with your own tools',
        ),
    )(sql)


def sql(
    query: Annotated[str | None, typer.Argument(help="One SELECT over the views of schema analysis.")] = None,
    url: Annotated[bool, typer.Option("--url", help="Print the database's URL, password included.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read from the views: analysis.jobs, predictions, summaries, generations, failures, provenance, outstanding."""
    if url:
        typer.echo(find_database(load_settings()))
        return
    if not query:
        raise UsageError("give a SELECT, or --url for your own tools; 'sciqueue sql --help' has examples")
    columns, rows = _read(query)
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        display.console().print(display.records(columns, rows))


def _read(query: str) -> tuple[list[str], list[list[Any]]]:
    """Run one query that cannot change anything, with the rights of an analyst.

    Raises:
        UsageError: PostgreSQL refuses it; the message is its own.
    """
    with opened() as database, database.transaction() as connection:
        try:
            connection.execute("SET TRANSACTION READ ONLY")
            if connection.execute("SELECT FROM pg_roles WHERE rolname = 'sciqueue_reader'").fetchone() is not None:
                connection.execute("SET LOCAL ROLE sciqueue_reader")
            # Asked for in binary form, which PostgreSQL gives for a single statement only: nothing can follow it.
            cursor = connection.execute(query.encode(), binary=True)
            columns = [column.name for column in cursor.description or []]
            return columns, [list(row.values()) for row in cursor] if columns else []
        except psycopg.errors.Error as fault:
            said = [fault.diag.message_primary or str(fault).strip(), fault.diag.message_hint]
            raise UsageError(". ".join(part for part in said if part)) from fault
