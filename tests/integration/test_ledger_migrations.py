"""The migrations make what `schemas.tables` says, and can be undone and repeated."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

import schemas
from schemas.errors import ServerUnavailable
from schemas.migrate import migrate, newest_revision
from schemas.tables import SCHEMA, metadata


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    """A transaction that does not find our schema by default, which it would by the name of our user."""
    own = sa.make_url(url).set(drivername="postgresql+psycopg").update_query_dict({"options": "-csearch_path=public"})
    with sa.create_engine(own, poolclass=sa.NullPool).begin() as connection:
        yield connection


def differences(url: str) -> list[object]:
    """What Alembic would still change to come from the database to `schemas.tables`."""
    with connected(url) as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
                "include_object": lambda _, name, kind, *__: not (kind == "table" and name == "alembic_version"),
                "compare_type": True,
                "compare_server_default": True,
            },
        )
        return list(compare_metadata(context, metadata))


def names(url: str) -> set[tuple[str, str]]:
    with psycopg.connect(url) as connection:
        return set(
            connection.execute(
                "SELECT table_schema, table_name FROM information_schema.tables "
                "WHERE table_schema IN ('sciqueue', 'analysis')"
            ).fetchall()
        )


def test_the_migrations_make_exactly_the_tables_of_the_code(database_url: str) -> None:
    assert differences(database_url) == []
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT version_num FROM sciqueue.alembic_version").fetchone() == (newest_revision(),)
        connection.execute("ALTER TABLE sciqueue.jobs DROP COLUMN reason")
    assert len(differences(database_url)) == 1  # the comparison does see a drift


def downgrade(url: str, revision: str) -> None:
    with connected(url) as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(schemas.__file__).with_name("migrations")))
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def test_an_analysts_own_view_of_summaries_outlives_the_coming_of_support(database_url: str) -> None:
    downgrade(database_url, "0003")
    with psycopg.connect(database_url) as connection:
        before = connection.execute("SELECT * FROM analysis.summaries").description or []
        connection.execute("CREATE VIEW public.mine AS SELECT summary, coverage FROM analysis.summaries")
    migrate(database_url)
    with psycopg.connect(database_url) as connection:
        after = connection.execute("SELECT * FROM analysis.summaries").description or []
        connection.execute("SELECT coverage FROM public.mine")
    assert [column.name for column in after] == [*(column.name for column in before), "support"]


def test_a_migrated_database_can_go_back_and_forth(database_url: str) -> None:
    before = names(database_url)
    downgrade(database_url, "base")
    assert names(database_url) == {("sciqueue", "alembic_version")}
    migrate(database_url)
    assert names(database_url) == before
    assert differences(database_url) == []


def test_many_processes_may_migrate_at_once(database_url: str) -> None:
    before = names(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP SCHEMA sciqueue CASCADE")
        connection.execute("DROP SCHEMA IF EXISTS analysis CASCADE")
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(migrate, [database_url] * 3))
    assert names(database_url) == before


def test_a_server_that_is_away_is_said_to_be() -> None:
    with pytest.raises(ServerUnavailable, match="cannot be reached"):
        migrate("postgresql://nobody@127.0.0.1:1/nothing")
