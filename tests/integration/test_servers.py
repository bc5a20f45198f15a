"""The embedded servers, for real: they keep data over kills, come back where they were, and let nobody else in."""

import fcntl
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import redis

from producer.servers.embedded import EmbeddedServers, ServerUrls
from producer.servers.health import wait_for_broker, wait_for_postgres
from producer.servers.processes import alive, ended
from schemas.errors import ConfigurationError, ServerUnavailable

START = """
import sys
from pathlib import Path
from producer.servers.embedded import EmbeddedServers
urls = EmbeddedServers(Path(sys.argv[1])).start()
print(urls.database_url, urls.broker_url)
"""


class FirstStart:
    """What two processes that first started the servers at the same moment printed, and what `ps` showed meanwhile."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.seen: set[str] = set()
        running = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(running,))
        watcher.start()
        starters = [
            subprocess.Popen([sys.executable, "-c", START, str(home)], stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        self.printed = [starter.communicate(timeout=120)[0].split() for starter in starters]
        self.exits = [starter.returncode for starter in starters]
        running.set()
        watcher.join()

    def _watch(self, running: threading.Event) -> None:
        while not running.wait(0.02):
            self.seen.update(command_lines())


def command_lines() -> list[str]:
    lines = []
    for process in psutil.process_iter():
        try:
            lines.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return lines


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    home = tmp_path_factory.mktemp("servers") / "a home"
    first = FirstStart(home)
    yield first
    EmbeddedServers(home).stop()


@pytest.fixture
def servers(first):
    servers = EmbeddedServers(first.home)
    servers.start()
    return servers


def password(url: str) -> str:
    return urlsplit(url).password or ""


def kill(process: psutil.Process | None) -> None:
    assert process is not None
    process.kill()
    assert ended(process, 5)


def query(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement).fetchone()
        return None if row is None else row[0]


def remember(url: str, value: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
        connection.execute("INSERT INTO kept VALUES (%s)", (value,))


def compute_until_cut_off(connection: psycopg.Connection) -> None:
    """Runs a query that looks at no pipe between its rows, so its backend does not notice that it is an orphan."""
    with pytest.raises(psycopg.OperationalError):
        connection.execute(
            "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 1000000) b WHERE a * b < 0"
        )


def test_two_first_starts_at_once_yield_one_pair_of_servers(first):
    assert first.exits == [0, 0]
    assert first.printed[0] == first.printed[1]
    folders = {str(first.home / "postgres"), str(first.home / "valkey")}
    mine = [one for one in psutil.process_iter(["cwd", "name", "ppid"]) if one.info["cwd"] in folders]
    tops = [one for one in mine if one.info["ppid"] not in {other.pid for other in mine}]
    assert sorted(one.info["name"] for one in tops) == ["postgres", "valkey-server"]


def test_the_servers_outlive_their_starter_and_are_found_by_another_process(first):
    found = EmbeddedServers(first.home).running()
    assert found == ServerUrls(*first.printed[0])


def test_no_command_line_ever_showed_a_password(first, servers):
    urls = servers.start()
    assert any("initdb" in line for line in first.seen)
    for line in [*first.seen, *command_lines()]:
        assert password(urls.database_url) not in line
        assert password(urls.broker_url) not in line
    assert password(urls.database_url) not in repr(urls)


def test_all_that_holds_secrets_is_open_to_its_owner_only(first, servers):
    for name in ("", "run", "logs", "postgres", "valkey"):
        assert (first.home / name).stat().st_mode & 0o077 == 0
    for name in ("run/servers.json", "valkey/valkey.conf", "logs/postgres.log", "logs/valkey.log"):
        assert (first.home / name).stat().st_mode & 0o077 == 0
    assert not list(first.home.glob("postgres.new-*"))


def test_the_servers_listen_on_loopback_only(servers):
    for server in (servers.postgres, servers.broker):
        process = server.process()
        addresses = [one.laddr.ip for one in process.net_connections("inet") if one.status == psutil.CONN_LISTEN]
        assert addresses == ["127.0.0.1"]
        assert not [one for one in process.net_connections("unix") if one.laddr]


def test_postgres_refuses_a_wrong_password_and_none(servers):
    url = servers.start().database_url
    secret = password(url)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url.replace(secret, "wrong"))
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(url.replace(":" + secret, ""))
    begin = time.monotonic()
    with pytest.raises(ConfigurationError, match="refused"):
        wait_for_postgres(url.replace(secret, "wrong"), timeout=10)
    assert time.monotonic() - begin < 5


def test_the_broker_refuses_a_wrong_password_and_none(servers):
    url = servers.start().broker_url
    secret = password(url)
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(url.replace(secret, "wrong")).ping()
    with pytest.raises(redis.AuthenticationError):
        redis.Redis.from_url(url.replace(f":{secret}@", "")).ping()
    with pytest.raises(ConfigurationError, match="refused"):
        wait_for_broker(url.replace(secret, "wrong"), timeout=10)


def test_waiting_for_a_dead_address_ends_at_its_limit():
    with socket.socket() as taken:  # bound but not listening
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ServerUnavailable, match=f"127.0.0.1:{port}"):
            wait_for_postgres(f"postgresql://u:secret@127.0.0.1:{port}/d", timeout=0.2)
        with pytest.raises(ServerUnavailable, match=f"127.0.0.1:{port}"):
            wait_for_broker(f"redis://:secret@127.0.0.1:{port}/0", timeout=0.2)


def test_postgres_promises_durability_and_the_broker_keeps_nothing(servers):
    urls = servers.start()
    for setting in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums"):
        assert query(urls.database_url, f"SHOW {setting}") == "on"
    assert query(urls.database_url, "SHOW password_encryption") == "scram-sha-256"
    assert query(urls.database_url, "SELECT lower('ÄÖ')") == "äö"
    broker = redis.Redis.from_url(urls.broker_url, decode_responses=True)
    assert broker.config_get("save")["save"] == ""
    assert broker.config_get("appendonly")["appendonly"] == "no"
    assert broker.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    with pytest.raises(redis.ResponseError, match="DEBUG"):
        broker.execute_command("DEBUG", "SLEEP", "0")


def test_data_port_and_passwords_survive_a_stop_which_may_be_repeated(servers):
    urls = servers.start()
    remember(urls.database_url, 1)
    servers.stop()
    assert servers.running() is None
    assert servers.postgres.process() is None and servers.broker.process() is None
    servers.stop()
    assert servers.start() == urls
    assert query(urls.database_url, "SELECT count(*) FROM kept WHERE value = 1") == 1


def test_stop_works_with_one_server_dead(servers):
    kill(servers.postgres.process())
    servers.stop()
    assert servers.broker.process() is None


def test_committed_data_survive_a_kill_and_only_postgres_is_started_again(servers):
    urls = servers.start()
    remember(urls.database_url, 2)
    broker = servers.broker.process()
    kill(servers.postgres.process())
    assert servers.running() is None
    assert servers.start() == urls
    assert servers.broker.process() == broker
    assert query(urls.database_url, "SELECT count(*) FROM kept WHERE value = 2") == 1


def test_postgres_comes_back_while_an_orphan_of_the_killed_one_still_computes(servers):
    url = servers.start().database_url
    busy = psycopg.connect(url, autocommit=True)
    pid = busy.info.backend_pid
    orphans = [one for one in servers.postgres.process().children() if one.pid == pid]
    thread = threading.Thread(target=compute_until_cut_off, args=(busy,))
    thread.start()
    time.sleep(0.3)
    kill(servers.postgres.process())
    time.sleep(0.3)
    assert [alive(one) for one in orphans] == [True]
    assert servers.start_postgres() == url
    thread.join(5)
    assert not thread.is_alive()
    assert not alive(orphans[0])


def test_a_killed_broker_comes_back_empty_where_it_was(servers):
    urls = servers.start()
    postgres = servers.postgres.process()
    client = redis.Redis.from_url(urls.broker_url)
    client.set("epoch", "1")
    kill(servers.broker.process())
    assert servers.start_broker() == urls.broker_url
    assert client.get("epoch") is None
    assert servers.postgres.process() == postgres


def test_a_process_id_that_passed_to_a_stranger_is_neither_believed_nor_signalled(servers):
    urls = servers.start()
    kill(servers.postgres.process())
    kill(servers.broker.process())
    with subprocess.Popen(["sleep", "60"]) as stranger:
        home = servers.postgres.folder.parent
        for stale in (home / "postgres/postmaster.pid", home / "valkey/valkey.pid"):
            rest = stale.read_text().split("\n", 1)[1:]
            stale.write_text("\n".join([str(stranger.pid), *rest]))
        assert servers.running() is None
        servers.stop()
        assert stranger.poll() is None
        assert servers.start() == urls
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("content", ["", "not a number", "999999999\n", "-5\n"])
def test_a_damaged_process_id_file_does_not_hinder_a_start(servers, content):
    url = servers.start().broker_url
    kill(servers.broker.process())
    (servers.broker.folder / "valkey.pid").write_text(content)
    assert servers.running() is None
    assert servers.start_broker() == url


def test_a_taken_port_is_left_to_its_taker_and_the_passwords_stay(servers):
    urls = servers.start()
    servers.stop()
    taken = [urlsplit(url).port for url in (urls.database_url, urls.broker_url)]
    with socket.create_server(("127.0.0.1", taken[0])), socket.create_server(("127.0.0.1", taken[1])):
        moved = servers.start()
    for before, after in ((urls.database_url, moved.database_url), (urls.broker_url, moved.broker_url)):
        assert urlsplit(after).port not in taken
        assert password(after) == password(before)
    assert servers.running() == moved


def test_a_lost_state_file_costs_new_passwords_but_no_data(servers):
    urls = servers.start()
    remember(urls.database_url, 3)
    (servers.postgres.folder.parent / "run/servers.json").write_text("{")
    assert servers.running() is None
    renewed = servers.start()
    assert password(renewed.database_url) != password(urls.database_url)
    assert query(renewed.database_url, "SELECT count(*) FROM kept WHERE value = 3") == 1
    assert servers.running() == renewed


def test_the_lock_goes_with_a_killed_holder_and_no_server_holds_it(servers):
    path = servers.postgres.folder.parent / "run/servers.lock"
    with path.open() as free:
        fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)
    code = (
        "import fcntl, sys, time; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX);"
        "print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        done = threading.Event()
        waiting = threading.Thread(target=lambda: (servers.start_broker(), done.set()))
        waiting.start()
        assert not done.wait(0.3)
        holder.send_signal(signal.SIGKILL)
        assert done.wait(5)
        waiting.join()


def test_a_data_folder_in_use_elsewhere_is_refused(servers, monkeypatch):
    monkeypatch.setattr("producer.servers.postgres.DEADLINE", 0.3)
    servers.stop()
    with (servers.postgres.folder / "sciqueue.lock").open("r+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)  # as a server in another container or on another machine does
        with pytest.raises(ConfigurationError, match="in use"):
            servers.start_postgres()
    assert servers.start_postgres()


def test_a_server_that_cannot_start_says_why_and_where_to_look(servers):
    servers.stop()
    settings = servers.postgres.folder / "postgresql.conf"
    good = settings.read_text()
    settings.write_text(good + "\nshared_buffers = lots\n")
    try:
        with pytest.raises(ServerUnavailable) as caught:
            servers.start_postgres()
    finally:
        settings.write_text(good)
    message = str(caught.value)
    assert "shared_buffers" in message or "postgresql.conf" in message
    assert str(servers.postgres.log) in message
    assert "\n" not in message


def test_data_of_another_major_version_are_refused(servers):
    servers.stop()
    marker = servers.postgres.folder / "PG_VERSION"
    marker.write_text("16\n")
    try:
        with pytest.raises(ConfigurationError, match="16"):
            servers.start_postgres()
    finally:
        marker.write_text("18\n")


def test_a_platform_without_the_wheels_is_told_which_urls_to_set(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="SCIQUEUE_DATABASE_URL"):
        EmbeddedServers(tmp_path / "home").start_postgres()
    with pytest.raises(ConfigurationError, match="SCIQUEUE_BROKER_URL"):
        EmbeddedServers(tmp_path / "home").start_broker()


def test_stopping_what_never_ran_makes_nothing(tmp_path):
    EmbeddedServers(tmp_path / "home").stop()
    assert EmbeddedServers(tmp_path / "home").running() is None
    assert not (tmp_path / "home").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="user namespaces are Linux's")
def test_root_without_user_namespaces_is_told_what_to_do(tmp_path):
    # Within a namespace of its own, a process is root and may forbid further ones; the machine keeps its settings.
    script = f"echo 0 > /proc/sys/user/max_user_namespaces && exec '{sys.executable}' -c '{START}' '{tmp_path}/home'"
    inside = ["unshare", "--user", "--map-root-user", "sh", "-c", script]
    done = subprocess.run(
        inside, capture_output=True, text=True, timeout=30, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    if "unshare" in done.stderr and "Traceback" not in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
    assert "ConfigurationError" in done.stderr
    assert "SCIQUEUE_DATABASE_URL" in done.stderr
