"""Who is alive: workers' leases and the dispatcher's leadership, on the database's clock."""

from __future__ import annotations

import pytest
from ledger_model import worker_info

from schemas.database import Database
from schemas.errors import LeaseLost
from schemas.items import Task
from schemas.ledger import leases

YEARS = 1e9  # seconds


def age(database: Database, table: str) -> None:
    """Let everything that can run out have run out an hour ago."""
    with database.transaction() as connection:
        connection.execute(f"UPDATE {table} SET expires_at = now() - interval '1 hour'")


def renew(database: Database, lease: int, seconds: float = 60) -> None:
    with database.transaction() as connection:
        leases.renew(connection, lease, seconds)


def test_a_lease_that_ran_out_is_closed_and_cannot_be_renewed(database: Database) -> None:
    dead = leases.take(database, worker_info("dead@host"), 60)
    assert leases.close_lapsed(database, 0) == []
    age(database, "leases")
    leases.take(database, worker_info("alive@host"), 60)
    assert leases.close_lapsed(database, 0) == ["dead@host"]
    assert leases.close_lapsed(database, 0) == []
    with pytest.raises(LeaseLost):
        renew(database, dead)


def test_a_late_renewal_saves_a_lease_that_was_not_closed_yet(database: Database) -> None:
    lease = leases.take(database, worker_info(), 60)
    age(database, "leases")
    assert leases.live(database) == []
    renew(database, lease)
    assert leases.close_lapsed(database, 0) == []
    assert [one["id"] for one in leases.live(database)] == [lease]


def test_after_a_restart_of_postgresql_leases_have_a_period_of_grace(database: Database) -> None:
    leases.take(database, worker_info(), 60)
    age(database, "leases")
    assert leases.close_lapsed(database, YEARS) == []  # the server started less than that ago
    assert leases.close_lapsed(database, 0) == ["cpu@test"]


def test_a_lease_that_was_given_back_is_not_counted_as_lapsed(database: Database) -> None:
    lease = leases.take(database, worker_info(), 60)
    leases.close(database, lease)
    leases.close(database, lease)
    age(database, "leases")
    assert leases.close_lapsed(database, 0) == []
    with database.transaction() as connection:
        row = connection.execute("SELECT closed_for FROM leases WHERE id = %s", (lease,)).fetchone()
    assert row == {"closed_for": "stopped"}


def test_a_death_that_was_seen_closes_that_process_lease_only(database: Database) -> None:
    dead = leases.take(database, worker_info("cpu@host"), 60)
    others = [leases.take(database, worker_info(name), 60) for name in ("gpu@host", "cpu@other")]
    leases.report_death(database, "cpu@host", worker_info().pid + 1)
    renew(database, dead)
    leases.report_death(database, "cpu@host", worker_info().pid)
    assert sorted(one["id"] for one in leases.live(database)) == others
    with pytest.raises(LeaseLost):
        renew(database, dead)


def test_slots_are_summed_over_the_live_workers_of_each_queue(database: Database) -> None:
    leases.take(database, worker_info("gone@host", slots=100), 60)
    age(database, "leases")
    leases.take(database, worker_info("a@host", slots=4), 60)
    leases.take(database, worker_info("b@host", slots=2), 60)
    leases.close(database, leases.take(database, worker_info("stopped@host", slots=50), 60))
    with database.transaction() as connection:
        assert leases.slots_by_queue(connection) == {task.queue: 6 for task in Task}


def test_one_holder_leads_until_it_resigns_or_falls_silent(database: Database) -> None:
    assert leases.lead(database, "dispatcher", "first", 60)
    assert not leases.lead(database, "dispatcher", "second", 60)
    assert leases.lead(database, "dispatcher", "first", 60)
    assert leases.lead(database, "other role", "second", 60)
    leases.resign(database, "dispatcher", "second")  # of what it does not hold
    assert not leases.lead(database, "dispatcher", "second", 60)
    leases.resign(database, "dispatcher", "first")
    assert leases.lead(database, "dispatcher", "second", 60)
    age(database, "leadership")
    assert leases.lead(database, "dispatcher", "first", 60)
    assert not leases.lead(database, "dispatcher", "second", 60)
