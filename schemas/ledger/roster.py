"""Which workers there should be: written by `sciqueue scale` and `drain`, carried out by each host's supervisor.

A row is one worker, device@host. It belongs to the supervisor that entered it, which says every second how it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from schemas.database import Connection, Database
from schemas.errors import NotFound, UsageError

SILENT_AFTER = 15.0  # seconds without a word, until a supervisor is taken to have ended
FORGOTTEN_AFTER = 86_400.0  # seconds until its workers are removed

_LIVE = f"w.seen_at > clock_timestamp() - make_interval(secs => {SILENT_AFTER})"


class WorkerState(StrEnum):
    """How far a worker is."""

    UP = "up"
    DRAINING = "draining"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Listed:
    """A worker whose supervisor lives. `reason`: why that one has given it up; `running`: batches that it holds."""

    name: str
    host: str
    wanted: bool
    state: WorkerState
    reason: str | None
    running: int


def enter(
    database: Database, host: str, pid: int, device: str, names: Sequence[str], lives: Callable[[int], bool]
) -> list[str]:
    """Enter a supervisor's workers, all wanted, and return their names. `lives` says whether a process does.

    A CPU worker whose name another living supervisor has gets the next number; a GPU is served by one supervisor.

    Raises:
        UsageError: another supervisor serves that GPU.
    """
    with database.transaction() as connection:
        connection.execute("LOCK TABLE workers IN EXCLUSIVE MODE")  # two that start at once choose different names
        connection.execute(
            "DELETE FROM workers WHERE seen_at < clock_timestamp() - make_interval(secs => %s)", (FORGOTTEN_AFTER,)
        )
        taken = {
            row["name"]: row["pid"]
            for row in connection.execute(
                f"SELECT name, pid FROM workers w WHERE host = %s AND pid <> %s AND {_LIVE}", (host, pid)
            )
            if lives(row["pid"])
        }
        entered: list[str] = []
        for place, wish in enumerate(names):
            name = wish
            if device == "cpu":
                name = _free_name(wish, {*taken, *entered})
            elif name in taken:
                raise UsageError(f"{name} is served by process {taken[name]} already: stop that, or leave it out")
            connection.execute(
                "INSERT INTO workers AS w (name, host, pid, device, place) VALUES (%s, %s, %s, %s, %s) "
                "ON CONFLICT (name) DO UPDATE SET host = EXCLUDED.host, pid = EXCLUDED.pid, device = EXCLUDED.device, "
                "place = EXCLUDED.place, wanted = true, state = 'down', reason = NULL, seen_at = clock_timestamp()",
                (name, host, pid, device, place),
            )
            entered.append(name)
    return entered


def report(database: Database, host: str, pid: int, states: Mapping[str, WorkerState]) -> dict[str, bool]:
    """Say how a supervisor's workers stand, and return which of them are wanted; among them may be new ones."""
    with database.transaction() as connection:
        connection.execute(
            "UPDATE workers w SET state = s.state, seen_at = clock_timestamp() "
            "FROM unnest(%s::text[], %s::text[]) AS s (name, state) WHERE w.name = s.name AND host = %s AND pid = %s",
            (list(states), list(states.values()), host, pid),
        )
        rows = connection.execute(
            "SELECT name, wanted FROM workers WHERE host = %s AND pid = %s ORDER BY place", (host, pid)
        ).fetchall()
    return {row["name"]: row["wanted"] for row in rows}


def give_up(database: Database, name: str, pid: int, reason: str) -> None:
    """Record that a supervisor does not start this worker again by itself."""
    with database.transaction() as connection:
        connection.execute(
            "UPDATE workers SET wanted = false, reason = %s WHERE name = %s AND pid = %s", (reason, name, pid)
        )


def leave(database: Database, host: str, pid: int) -> None:
    """Remove the workers of a supervisor that ends."""
    with database.transaction() as connection:
        connection.execute("DELETE FROM workers WHERE host = %s AND pid = %s", (host, pid))


def listed(database: Database) -> list[Listed]:
    """The workers of all living supervisors."""
    with database.transaction() as connection:
        rows = connection.execute(
            "SELECT w.name, w.host, w.wanted, w.state, w.reason, (SELECT count(*) FROM batches b "
            "  JOIN leases l ON l.id = b.lease_id WHERE b.state = 'running' AND l.worker = w.name) AS running "
            f"FROM workers w WHERE {_LIVE} ORDER BY w.host, w.pid, w.place"
        ).fetchall()
    return [Listed(**{**row, "state": WorkerState(row["state"])}) for row in rows]


def given_up(connection: Connection) -> list[str]:
    """The names of the workers that living supervisors start no more."""
    rows = connection.execute(f"SELECT name FROM workers w WHERE reason IS NOT NULL AND {_LIVE} ORDER BY name")
    return [row["name"] for row in rows]


def scale(database: Database, host: str, count: int) -> list[str]:
    """Want so many workers on a host, healthy ones first, and return their names. On the CPU new ones are entered.

    Raises:
        NotFound: no supervisor lives there.
        UsageError: it has not so many GPUs.
    """
    with database.transaction() as connection:
        rows = connection.execute(
            f"SELECT name, pid, device, place FROM workers w WHERE host = %s AND {_LIVE} "
            "ORDER BY reason IS NOT NULL, place, name FOR UPDATE",
            (host,),
        ).fetchall()
        if not rows:
            raise NotFound(f"no workers are supervised on host '{host}'; 'sciqueue scale' lists those that are")
        names = [row["name"] for row in rows]
        on_cpu = [row for row in rows if row["device"] == "cpu"]
        if count > len(names) and not on_cpu:
            raise UsageError(f"{host} has {len(names)} devices, so no more than {len(names)} workers")
        while len(names) < count:
            names.append(_free_name(on_cpu[0]["name"], names))
            connection.execute(
                "INSERT INTO workers (name, host, pid, device, place) VALUES (%s, %s, %s, 'cpu', %s)",
                (names[-1], host, on_cpu[0]["pid"], len(names) - 1),
            )
        _want(connection, names[:count], True)
        _want(connection, names[count:], False)
    return names[:count]


def drain(database: Database, wanted: Sequence[str]) -> list[str]:
    """Want no longer these workers, given by name or all at once by their host, and return their names.

    Raises:
        NotFound: there is none of that name or host.
    """
    with database.transaction() as connection:
        rows = connection.execute(
            f"SELECT name, host FROM workers w WHERE (name = ANY(%(wanted)s) OR host = ANY(%(wanted)s)) AND {_LIVE}",
            {"wanted": list(wanted)},
        ).fetchall()
        found = {word for row in rows for word in (row["name"], row["host"])}
        if missing := [word for word in wanted if word not in found]:
            raise NotFound(f"no worker or host '{missing[0]}'; 'sciqueue scale' lists them")
        names = [row["name"] for row in rows]
        _want(connection, names, False)
    return names


def _want(connection: Connection, names: Sequence[str], wanted: bool) -> None:
    """A worker that is wanted again may have been given up: it is tried anew."""
    connection.execute(
        "UPDATE workers SET wanted = %(wanted)s, reason = CASE WHEN %(wanted)s THEN NULL ELSE reason END "
        "WHERE name = ANY(%(names)s)",
        {"wanted": wanted, "names": list(names)},
    )


def _free_name(wish: str, taken: Sequence[str] | set[str]) -> str:
    """The name with the first number that is free: cpu1@lab after cpu0@lab."""
    device, host = wish.split("@", 1)
    stem = device.rstrip("0123456789")
    number = int(device.removeprefix(stem) or 0)
    while (name := f"{stem}{number}@{host}") in taken:
        number += 1
    return name
