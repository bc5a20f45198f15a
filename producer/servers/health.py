"""Does a server answer? The same questions serve the embedded servers and a lab's own."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlsplit

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from producer.servers.processes import POLL
from schemas.errors import ConfigurationError, ServerUnavailable

_ATTEMPT = 2  # seconds for one attempt; the least that libpq accepts
# Refusals that waiting does not mend; libpq and the server give no code for them at this stage, only words.
_REFUSALS = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry")


def wait_for_postgres(url: str, timeout: float) -> None:
    """Return once PostgreSQL lets us in and answers a query.

    Args:
        url: `postgresql://user:password@host:port/database`.
        timeout: seconds; one attempt is made in any case.

    Raises:
        ConfigurationError: the URL cannot be read, or the server refuses this user, password or database.
        ServerUnavailable: no answer within `timeout`.
    """
    _retry(lambda: ask_postgres(url), f"PostgreSQL at {_address(url)}", timeout)


def wait_for_broker(url: str, timeout: float) -> None:
    """Return once the Redis-compatible broker lets us in and answers.

    Args:
        url: `redis://:password@host:port/0`.
        timeout: seconds; one attempt is made in any case.

    Raises:
        ConfigurationError: the URL cannot be read, or the server refuses the password.
        ServerUnavailable: no answer within `timeout`.
    """
    _retry(lambda: ask_broker(url), f"the broker at {_address(url)}", timeout)


def broker_client(url: str) -> redis.Redis:
    """A client that gives up after one short attempt, for questions and orders to the server itself.

    Raises:
        ConfigurationError: the URL cannot be read.
    """
    try:
        return redis.Redis.from_url(
            url, socket_connect_timeout=_ATTEMPT, socket_timeout=_ATTEMPT, retry=Retry(NoBackoff(), 0)
        )
    except ValueError:
        raise ConfigurationError("the broker's URL is not of the form redis://:password@host:6379/0") from None


def ask_postgres(url: str) -> str | None:
    """Make one attempt: `None` for an answer, or why there was none. Raises as `wait_for_postgres` does."""
    try:
        with psycopg.connect(url, connect_timeout=_ATTEMPT, autocommit=True) as connection:
            connection.execute("SELECT 1")
    except psycopg.ProgrammingError:  # its words could repeat the password
        raise ConfigurationError(
            "the database's URL is not of the form postgresql://user:password@host:5432/database"
        ) from None
    except psycopg.Error as fault:
        reason = " ".join(str(fault).split())
        if any(words in reason for words in _REFUSALS):
            raise ConfigurationError(f"PostgreSQL at {_address(url)} refused us: {reason}") from fault
        return reason
    return None


def ask_broker(url: str) -> str | None:
    """Make one attempt: `None` for an answer, or why there was none. Raises as `wait_for_broker` does."""
    client = broker_client(url)
    try:
        client.ping()
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as fault:
        raise ConfigurationError(f"the broker at {_address(url)} refused us: {fault}") from fault
    except redis.RedisError as fault:
        return str(fault)
    finally:
        client.close()
    return None


def _retry(ask: Callable[[], str | None], name: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while (reason := ask()) is not None:
        if time.monotonic() > deadline:
            raise ServerUnavailable(f"{name} gives no answer: {reason}")
        time.sleep(POLL)


def _address(url: str) -> str:
    """Host and port of a URL, without its password."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    except ValueError:
        return "the address given"
