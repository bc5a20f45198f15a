"""Who is alive: one lease a worker incarnation, one for the leading dispatcher, all on the database's clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from schemas.database import Connection, Database
from schemas.errors import LeaseLost


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker says of itself when it takes a lease; outcomes point to it as their provenance."""

    worker: str  # device@host, as Flower shows it
    device: str
    pid: int
    queues: Sequence[str]
    slots: int
    versions: dict[str, str]
    memory: int | None = None  # bytes for models; None: it needs none


def take(database: Database, info: WorkerInfo, seconds: float) -> int:
    """Open a new lease and return its id."""
    with database.transaction() as connection:
        taken = connection.execute(
            "INSERT INTO leases (worker, device, pid, queues, slots, versions, memory, expires_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s)) RETURNING id",
            (
                info.worker,
                info.device,
                info.pid,
                list(info.queues),
                info.slots,
                Jsonb(info.versions),
                info.memory,
                seconds,
            ),
        ).fetchone()
    assert taken is not None  # noqa: S101 - INSERT … RETURNING gives a row or raises
    return int(taken["id"])


def renew(connection: Connection, lease: int, seconds: float) -> None:
    """Prolong a lease, on a connection of the heartbeat's own so that no pool can starve it.

    Raises:
        LeaseLost: the dispatcher has closed it; the worker's batches belong to others now.
    """
    renewed = connection.execute(
        "UPDATE leases SET expires_at = clock_timestamp() + make_interval(secs => %s) "
        "WHERE id = %s AND closed_at IS NULL",
        (seconds, lease),
    )
    if renewed.rowcount == 0:
        raise LeaseLost(f"lease {lease} was closed: this worker was silent for too long")


def close(database: Database, lease: int) -> None:
    """Give a lease back. Batches that are still held return to `pending` without being blamed for a crash."""
    with database.transaction() as connection:
        connection.execute(
            "UPDATE leases SET closed_at = clock_timestamp(), closed_for = 'stopped' "
            "WHERE id = %s AND closed_at IS NULL",
            (lease,),
        )


def drain(database: Database, lease: int) -> None:
    """Serve no queue any more: a worker that stops has no slot for new batches, and keeps those that it holds."""
    with database.transaction() as connection:
        connection.execute("UPDATE leases SET queues = '{}' WHERE id = %s AND closed_at IS NULL", (lease,))


def report_death(database: Database, worker: str, pid: int) -> int:
    """Close the lease of a process that its supervisor saw die, without waiting for it to lapse.

    Returns how many batches it held.
    """
    with database.transaction() as connection:
        held = connection.execute(
            "WITH closed AS (UPDATE leases SET closed_at = clock_timestamp(), closed_for = 'lapsed' "
            "  WHERE worker = %s AND pid = %s AND closed_at IS NULL RETURNING id) "
            "SELECT count(*) AS held FROM batches WHERE state = 'running' AND lease_id IN (SELECT id FROM closed)",
            (worker, pid),
        ).fetchone()
    assert held is not None  # noqa: S101 - an aggregate has one row
    return int(held["held"])


def close_lapsed(database: Database, seconds: float) -> list[str]:
    """Close the leases that ran out, and return their workers' names.

    After a restart of PostgreSQL nobody could renew for a while, so all leases get one period of grace.
    """
    with database.transaction() as connection:
        closed = connection.execute(
            "UPDATE leases SET closed_at = clock_timestamp(), closed_for = 'lapsed' "
            "WHERE closed_at IS NULL AND expires_at < clock_timestamp() "
            "AND clock_timestamp() > pg_postmaster_start_time() + make_interval(secs => %s) RETURNING worker",
            (seconds,),
        ).fetchall()
    return [row["worker"] for row in closed]


def live(database: Database) -> list[dict[str, Any]]:
    """The open leases: id, worker, device, queues, memory, slots, versions, started_at, and `running` batches."""
    with database.transaction() as connection:
        return connection.execute(
            "SELECT id, worker, device, queues, memory, slots, versions, started_at, "
            "(SELECT count(*) FROM batches WHERE lease_id = leases.id AND state = 'running') AS running "
            "FROM leases WHERE closed_at IS NULL AND expires_at > clock_timestamp() ORDER BY worker, id"
        ).fetchall()


def slots_by_queue(connection: Connection) -> dict[str, int]:
    """Batches that the live workers can hold, for each queue."""
    rows = connection.execute(
        "SELECT queue, sum(slots)::int AS slots FROM leases, unnest(queues) AS queue "
        "WHERE closed_at IS NULL AND expires_at > clock_timestamp() GROUP BY queue"
    ).fetchall()
    return {row["queue"]: row["slots"] for row in rows}


def lead(database: Database, role: str, holder: str, seconds: float) -> bool:
    """Take or keep the leadership of a role. True while `holder` leads; others poll until it lapses."""
    with database.transaction() as connection:
        leads = connection.execute(
            "INSERT INTO leadership AS l (role, holder, expires_at) "
            "VALUES (%(role)s, %(holder)s, clock_timestamp() + make_interval(secs => %(seconds)s)) "
            "ON CONFLICT (role) DO UPDATE SET holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at "
            "WHERE l.holder = EXCLUDED.holder OR l.expires_at < clock_timestamp()",
            {"role": role, "holder": holder, "seconds": seconds},
        )
    return leads.rowcount == 1


def resign(database: Database, role: str, holder: str) -> None:
    """Give the leadership up, so that a standby need not wait for it to lapse."""
    with database.transaction() as connection:
        connection.execute("DELETE FROM leadership WHERE role = %s AND holder = %s", (role, holder))
