"""What the devices do: the live workers with the batches they hold and the rows they have completed lately."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.database import Database


@dataclass(frozen=True, slots=True)
class DeviceAtWork:
    """A live worker. `rate` is rows per second over the last seconds, as many as were asked for."""

    worker: str
    device: str
    queues: Sequence[str]
    memory: int | None
    slots: int
    running: int
    rate: float
    since: datetime


def at_work(database: Database, seconds: float) -> list[DeviceAtWork]:
    """All live workers, with their rates over the last `seconds`."""
    with database.transaction() as connection:
        rows = connection.execute(
            "SELECT l.worker, l.device, l.queues, l.memory, l.slots, l.started_at AS since, "
            "count(b.id) FILTER (WHERE b.state = 'running') AS running, "
            "coalesce(sum(b.rows) FILTER (WHERE b.state = 'done'), 0)::float8 / %(seconds)s AS rate "
            "FROM leases l LEFT JOIN batches b ON b.lease_id = l.id AND (b.state = 'running' "
            "OR (b.state = 'done' AND b.finished_at > clock_timestamp() - make_interval(secs => %(seconds)s))) "
            "WHERE l.closed_at IS NULL AND l.expires_at > clock_timestamp() GROUP BY l.id ORDER BY l.worker, l.id",
            {"seconds": seconds},
        ).fetchall()
    return [DeviceAtWork(**row) for row in rows]
