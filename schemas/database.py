"""Connections to PostgreSQL: a small pool, time limits on every session, and one clear error when it is away."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.string import BytesBinaryDumper
from psycopg_pool import ConnectionPool, PoolTimeout

from schemas.errors import ServerUnavailable

psycopg.adapters.register_dumper(bytes, BytesBinaryDumper)  # the one that COPY would choose is not written in C
logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # each failed try; `ServerUnavailable` says it once

Connection = psycopg.Connection[dict[str, Any]]

# A half-open connection is noticed, and a stuck transaction gives up its locks, in seconds rather than hours.
_CONNECT: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "sciqueue",
    "row_factory": dict_row,
}
# The last two: a session that was suspended inside a transaction, and a server that has become a standby.
_AWAY = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    PoolTimeout,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.ReadOnlySqlTransaction,
)
# The server's end of the connection, too: it would keep a session whose client vanished, with its locks, for a minute.
_SESSION = (
    "SET search_path = sciqueue, public; SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '60s'; "
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; "
    "SET tcp_user_timeout = '15s'"
)


@contextmanager
def reachable() -> Iterator[None]:
    """Turn psycopg's ways of saying that the server is away into one error.

    Raises:
        ServerUnavailable: PostgreSQL cannot be reached, went away, or gave up waiting for a lock. If this happened
            while committing, whether it took effect is unknown: read the state again before repeating.
    """
    try:
        yield
    except _AWAY as fault:
        primary = fault.diag.message_primary if isinstance(fault, psycopg.Error) else None
        lines = str(fault).strip().splitlines()
        detail = primary or (lines[0].strip() if lines else type(fault).__name__)
        raise ServerUnavailable(f"PostgreSQL cannot be used: {detail}; 'sciqueue doctor' tells more") from fault


def connect(url: str) -> Connection:
    """One connection outside the pool that commits by itself, for a listener or a heartbeat.

    Raises:
        ServerUnavailable: PostgreSQL cannot be reached, or refuses the user or the database.
    """
    with reachable():
        connection = psycopg.connect(url, autocommit=True, **_CONNECT)
        connection.execute(_SESSION)
    return connection


class Database:
    """A pool of connections, shared by the threads of a process. Close it when done, or use it as a context."""

    def __init__(self, url: str, *, size: int = 4, timeout: float = 10.0) -> None:
        self.url = url
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            kwargs=_CONNECT,
            configure=_configure,
            check=ConnectionPool.check_connection,
            min_size=0,
            max_size=size,
            timeout=timeout,
            reconnect_timeout=timeout,
            open=True,
        )

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: committed when the block ends, rolled back when it raises.

        Raises:
            ServerUnavailable: as `reachable` says.
        """
        with reachable(), self._pool.connection() as connection:
            yield connection


def _configure(connection: Connection) -> None:
    connection.autocommit = True
    connection.execute(_SESSION)
    connection.autocommit = False
