"""Bringing a database's tables up to date. Safe to call from many processes at once."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from schemas.errors import ServerUnavailable

_FOLDER = Path(__file__).with_name("migrations")
_LOCK = 0x5C1_0EE  # any number of our own: one migration at a time


def migrate(database_url: str) -> None:
    """Apply the migrations that are missing.

    Raises:
        ServerUnavailable: PostgreSQL cannot be reached.
    """
    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            # A role named like our schema would find that schema by default, which confuses Alembic's comparisons.
            connection.execute(text("SET LOCAL search_path TO public"))
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except OperationalError as fault:
        detail = str(fault.orig).strip().splitlines()[-1]
        raise ServerUnavailable(f"PostgreSQL cannot be reached ({detail}); 'sciqueue doctor' tells more") from fault


def newest_revision() -> str:
    """The revision that this version of sciqueue wants."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None  # noqa: S101 - migrations are part of the package
    return head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    return config
