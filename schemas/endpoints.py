"""Which servers a command talks to: the lab's own where a URL is set, else the embedded ones below `home`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from schemas.database import Connection, Database, connect
from schemas.errors import ConfigurationError, ServerUnavailable
from schemas.settings import Settings

_NONE = "no servers are set up: 'sciqueue up' starts private ones, or set SCIQUEUE_DATABASE_URL and SCIQUEUE_BROKER_URL"
_MIGRATIONS = Path(__file__).with_name("migrations") / "versions"


@dataclass(frozen=True)
class ServerUrls:
    """Where PostgreSQL and the broker are, passwords included; those are kept out of the text form."""

    database_url: str = field(repr=False)
    broker_url: str = field(repr=False)


def find_servers(settings: Settings) -> ServerUrls:
    """Both URLs; each may be set on its own. Nothing is started, and nothing is connected to.

    Raises:
        ServerUnavailable: a URL is not set and the embedded servers were never started.
    """
    return ServerUrls(database_url=find_database(settings), broker_url=find_broker(settings))


def find_database(settings: Settings) -> str:
    """PostgreSQL's URL alone, for commands that send no messages.

    Raises:
        ServerUnavailable: it is not set and the embedded servers were never started.
    """
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    known = _embedded(settings, "postgres")
    return f"postgresql://sciqueue:{known['password']}@127.0.0.1:{known['port']}/sciqueue"


def find_broker(settings: Settings) -> str:
    """The broker's URL alone, for who asks the ledger nothing.

    Raises:
        ServerUnavailable: it is not set and the embedded servers were never started.
    """
    if settings.broker_url is not None:
        return settings.broker_url.get_secret_value()
    known = _embedded(settings, "broker")
    return f"redis://:{known['password']}@127.0.0.1:{known['port']}/0"


def open_database(settings: Settings, *, timeout: float = 10.0) -> Database:
    """A pool of connections to a database whose tables are those that this version of sciqueue knows.

    `timeout` is how long, in seconds, a transaction waits for a server that has gone away since.

    Raises:
        ServerUnavailable: there is no server, or it does not answer now.
        ConfigurationError: the tables are missing, older or newer.
    """
    url = find_database(settings)
    mend = "'sciqueue up'" if settings.database_url is None else "'sciqueue migrate'"
    try:
        with _connect(url) as connection:
            made = connection.execute("SELECT 1 WHERE to_regclass('sciqueue.alembic_version') IS NOT NULL").fetchone()
            row = connection.execute("SELECT version_num FROM sciqueue.alembic_version").fetchone() if made else None
    except ServerUnavailable as fault:
        if settings.database_url is not None:
            raise
        raise ServerUnavailable(f"the private servers are not running: 'sciqueue up' starts them ({fault})") from fault
    except psycopg.errors.InsufficientPrivilege as fault:
        raise ConfigurationError(
            "the database's user may not read sciqueue's tables; connect as their owner"
        ) from fault
    if row is None:
        raise ConfigurationError(f"the database has no tables of sciqueue yet: {mend} makes them")
    known = _known_revisions()
    if row["version_num"] not in known:
        raise ConfigurationError(
            f"the database was brought to revision {row['version_num']} by a newer sciqueue: upgrade this one"
        )
    if row["version_num"] != known[-1]:
        raise ConfigurationError(
            f"the database's tables are at revision {row['version_num']}, not {known[-1]}: {mend} brings them forward"
        )
    return Database(url, timeout=timeout)


def _connect(url: str) -> Connection:
    try:
        return connect(url)
    except psycopg.ProgrammingError:  # its text repeats the URL, password included
        raise ConfigurationError("SCIQUEUE_DATABASE_URL must look like postgresql://user:password@host/db") from None


def _known_revisions() -> list[str]:
    """The migrations' revisions, oldest first: their file names begin with them.

    `schemas.migrate.newest_revision` says the same, but importing Alembic would double a short command's time.
    """
    return sorted(file.name.partition("_")[0] for file in _MIGRATIONS.glob("[0-9]*.py"))


def _embedded(settings: Settings, server: str) -> dict[str, Any]:
    """What `producer.servers.state` wrote about one server: its port and password."""
    try:
        known = json.loads((settings.run_dir / "servers.json").read_bytes())
        return {"port": int(known[server]["port"]), "password": str(known[server]["password"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise ServerUnavailable(_NONE) from None
