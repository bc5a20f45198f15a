"""What `sciqueue doctor` finds out about servers and the stack."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

import redis

from producer.serving import lack
from producer.stack import StackFile
from schemas.database import Database, connect
from schemas.doctor import Check
from schemas.endpoints import find_servers
from schemas.errors import SciqueueError
from schemas.ledger import leases, progress, roster
from schemas.migrate import newest_revision
from schemas.settings import Settings
from schemas.states import JobState

_OLDEST_POSTGRES = 140000  # server_version_num
_START = "'sciqueue up' starts it"


def checks(settings: Settings) -> Iterator[Check]:
    """Servers, tables, workers, and the running stack."""
    yield Check("sciqueue", True, f"{version('sciqueue')}, data in {settings.home}")
    try:
        servers = find_servers(settings)
    except SciqueueError as fault:
        yield Check("servers", False, "none are set up", str(fault))
        return
    yield from _postgres(servers.database_url)
    yield _broker(servers.broker_url)
    info = StackFile(settings).running()
    found = f"process {info.pid}, Flower at {info.flower_url}" if info else "not running here"
    own = settings.database_url is not None and settings.broker_url is not None
    yield Check("stack", info is not None or own, found, _START)


def _postgres(url: str) -> Iterator[Check]:
    try:
        with connect(url) as connection:
            number = connection.info.server_version
            text = f"{number // 10000}.{number % 10000}"
            yield Check("PostgreSQL", number >= _OLDEST_POSTGRES, text, "sciqueue needs PostgreSQL 14 or newer")
            made = connection.execute("SELECT to_regclass('sciqueue.alembic_version') AS made").fetchone()
            row = (
                connection.execute("SELECT version_num FROM sciqueue.alembic_version").fetchone()
                if made and made["made"]
                else None
            )
            revision = row["version_num"] if row else "none"
            yield Check("tables", revision == newest_revision(), f"revision {revision}", "run 'sciqueue migrate'")
            if row:
                slots = leases.slots_by_queue(connection)
                found = ", ".join(f"{queue}: {count} slots" for queue, count in sorted(slots.items())) or "none live"
                yield Check("workers", bool(slots), found, "'sciqueue up' or 'sciqueue worker' starts one")
                if row["version_num"] == newest_revision():
                    yield from _fleet(url)
    except SciqueueError as fault:
        yield Check("PostgreSQL", False, str(fault), _START)


def _fleet(url: str) -> Iterator[Check]:
    """The devices that their supervisors start no more, and the jobs that none of the live workers can serve."""
    with Database(url, size=1) as database:
        given_up = [one for one in roster.listed(database) if one.reason]
        offers = [(lease["queues"], lease["memory"]) for lease in leases.live(database)]
        running = [job for job in progress.of_jobs(database, live_only=True) if job.state is JobState.RUNNING]
    for one in given_up:
        yield Check(one.name, False, f"given up: it {one.reason}", "mend it, then 'sciqueue scale' starts it again")
    for job in running:
        if offers and job.outstanding and (missing := lack(job, offers)):
            yield Check(f"job {job.id}", False, missing, "it goes on by itself once there is one")


def _broker(url: str) -> Check:
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5) as client:
            server = client.info()
            policy = client.config_get("maxmemory-policy").get("maxmemory-policy", "unknown")
    except redis.RedisError as fault:
        return Check("broker", False, f"cannot be reached: {fault}", _START)
    name = f"Valkey {server['valkey_version']}" if "valkey_version" in server else f"Redis {server['redis_version']}"
    found = f"{name}, {server['used_memory_human']} in use, {policy}"
    return Check("broker", policy == "noeviction", found, "set maxmemory-policy to noeviction: messages would vanish")
