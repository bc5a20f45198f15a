"""What tests share: real servers of the run's own, and for each test a fresh database on them."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import make_url

from producer.servers.embedded import EmbeddedServers
from producer.servers.health import broker_client
from schemas.database import Database
from schemas.migrate import migrate

_NUMBERS = itertools.count()

# As workers have it, before any test imports torch: threads that spin while they wait slow a busy machine many times.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(scope="session")
def _servers() -> Iterator[EmbeddedServers]:
    """Private servers, started by whoever asks for one first."""
    home = Path(tempfile.mkdtemp(prefix="sq-"))  # short: a socket's path has a limit
    servers = EmbeddedServers(home)
    try:
        yield servers
    finally:
        servers.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> str:
    """PostgreSQL for this run, as a user who may create databases; a lab's own if SCIQUEUE_TEST_DATABASE_URL is set."""
    own = os.environ.get("SCIQUEUE_TEST_DATABASE_URL")
    if own:
        return own
    servers: EmbeddedServers = request.getfixturevalue("_servers")
    return servers.start_postgres()


@pytest.fixture(scope="session")
def _template(postgres_url: str) -> Iterator[str]:
    """A migrated database that each test's own is copied from."""
    name = f"sciqueue_test_{os.getpid()}"
    with _made(postgres_url, name):
        migrate(_url_of(postgres_url, name))
        yield name


@pytest.fixture
def database_url(postgres_url: str, _template: str) -> Iterator[str]:
    """The URL of a fresh, migrated database, dropped after the test even if somebody is still connected."""
    name = f"{_template}_{next(_NUMBERS)}"
    with _made(postgres_url, name, _template):
        # Only a crash of the server could tell the difference, and a test that crashes it starts its own.
        yield _url_of(postgres_url, name, options="-csynchronous_commit=off")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A pool of connections to the test's own database."""
    with Database(database_url) as database:
        yield database


@pytest.fixture(scope="session")
def _broker(request: pytest.FixtureRequest) -> str:
    servers: EmbeddedServers = request.getfixturevalue("_servers")
    return servers.start_broker()


@pytest.fixture
def broker_url(_broker: str) -> str:
    """The URL of the run's private broker, emptied for this test."""
    with broker_client(_broker) as client:
        client.flushall()
    return _broker


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real, public records that tests marked `data` read."""
    folder = os.environ.get("SCIQUEUE_TEST_DATA")
    if folder is None:
        pytest.skip("SCIQUEUE_TEST_DATA is not set")
    return Path(folder)


@contextmanager
def _made(server: str, name: str, template: str = "template1") -> Iterator[None]:
    """A database that exists within the block."""
    new, old = sql.Identifier(name), sql.Identifier(template)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(new, old))
        try:
            yield
        finally:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(new))


def _url_of(server: str, name: str, **query: str) -> str:
    url = make_url(server).set(database=name).update_query_dict(query)
    return url.render_as_string(hide_password=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-drugs", action="store_true", help="compare predictions on all approved drugs")
    parser.addoption("--fail-on-skip", action="store_true", help="count a skipped test as a failure, as CI does")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where everything that tests need must be there, a skip hides a fault."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--fail-on-skip") and exitstatus == 0 and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
