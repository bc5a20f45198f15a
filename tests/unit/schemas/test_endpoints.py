from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from producer.servers.endpoint import Endpoint
from producer.servers.postgres import PostgresServer
from producer.servers.state import StateFile
from producer.servers.valkey import ValkeyServer
from schemas.endpoints import _known_revisions, find_database, find_servers, open_database
from schemas.errors import ConfigurationError, ServerUnavailable
from schemas.migrate import newest_revision
from schemas.settings import Settings

OWN_DATABASE = SecretStr("postgresql://me:secret@db/lab")
OWN_BROKER = SecretStr("redis://:secret@redis:6379/0")


def _write_state(home: Path) -> StateFile:
    (home / "run").mkdir()
    state = StateFile(home)
    state.save(postgres=Endpoint(port=15001, password="pg-word"), broker=Endpoint(port=15002, password="br-word"))
    return state


def test_urls_that_are_set_are_taken(tmp_path: Path) -> None:
    found = find_servers(Settings(home=tmp_path, database_url=OWN_DATABASE, broker_url=OWN_BROKER))
    assert found.database_url == OWN_DATABASE.get_secret_value()
    assert found.broker_url == OWN_BROKER.get_secret_value()
    assert "secret" not in repr(found)


def test_embedded_servers_have_the_urls_that_their_own_module_makes(tmp_path: Path) -> None:
    state = _write_state(tmp_path)
    found = find_servers(Settings(home=tmp_path, database_url=None, broker_url=None))
    assert found.database_url == PostgresServer(tmp_path, state).url()
    assert found.broker_url == ValkeyServer(tmp_path, state).url()


def test_one_url_may_be_set_and_the_other_be_embedded(tmp_path: Path) -> None:
    _write_state(tmp_path)
    found = find_servers(Settings(home=tmp_path, database_url=OWN_DATABASE, broker_url=None))
    assert found.database_url == OWN_DATABASE.get_secret_value()
    assert found.broker_url == "redis://:br-word@127.0.0.1:15002/0"


def test_a_database_alone_does_for_commands_that_send_nothing(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database_url=OWN_DATABASE, broker_url=None)
    assert find_database(settings) == OWN_DATABASE.get_secret_value()
    with pytest.raises(ServerUnavailable, match="sciqueue up"):
        find_servers(settings)


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"postgres": null}', '{"postgres": {"port": "x"}}'])
def test_servers_never_set_up_say_how_to_begin(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "servers.json").write_text(content)
    with pytest.raises(ServerUnavailable, match=r"no servers are set up: 'sciqueue up'.*SCIQUEUE_DATABASE_URL"):
        find_servers(Settings(home=tmp_path, database_url=None, broker_url=None))


def test_private_servers_that_do_not_run_are_told_from_a_labs_own(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    state = {"postgres": {"port": 1, "password": "word"}, "broker": {"port": 1, "password": "word"}}
    (tmp_path / "run" / "servers.json").write_text(json.dumps(state))
    with pytest.raises(ServerUnavailable, match="private servers are not running: 'sciqueue up'"):
        open_database(Settings(home=tmp_path, database_url=None))


def test_a_url_of_the_wrong_form_is_refused_without_repeating_its_password(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="SCIQUEUE_DATABASE_URL must look like") as raised:
        open_database(Settings(home=tmp_path, database_url=SecretStr("hunter2 and more")))
    assert "hunter2" not in str(raised.value)


def test_the_known_revisions_end_with_the_one_that_alembic_calls_newest() -> None:
    assert _known_revisions()[-1] == newest_revision()
