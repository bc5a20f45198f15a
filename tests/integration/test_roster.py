"""The roster of workers in a real ledger: who enters it, what `scale` and `drain` want, and who may speak for whom."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from command_line import refused, sciqueue

from schemas.database import Database
from schemas.errors import NotFound, UsageError
from schemas.ledger import roster
from schemas.ledger.roster import WorkerState

pytestmark = pytest.mark.usefixtures("command_settings")

MINE, OTHER = 1, 2  # supervisors' process ids


def _enter(
    database: Database,
    names: Sequence[str],
    pid: int = MINE,
    device: str = "cpu",
    living: Sequence[int] = (MINE, OTHER),
) -> list[str]:
    return roster.enter(database, "lab", pid, device, names, lambda one: one in living)


def _wanted(database: Database) -> dict[str, bool]:
    return {one.name: one.wanted for one in roster.listed(database)}


def test_a_second_supervisor_gets_the_next_names_on_the_cpu(database: Database) -> None:
    assert _enter(database, ["cpu0@lab", "cpu1@lab"]) == ["cpu0@lab", "cpu1@lab"]
    assert _enter(database, ["cpu0@lab", "cpu1@lab"], OTHER) == ["cpu2@lab", "cpu3@lab"]


def test_a_gpu_is_served_by_one_supervisor(database: Database) -> None:
    _enter(database, ["gpu0@lab", "gpu1@lab"], device="cuda")
    with pytest.raises(UsageError, match="gpu1@lab is served by process 1 already"):
        _enter(database, ["gpu2@lab", "gpu1@lab"], OTHER, device="cuda")
    assert list(_wanted(database)) == ["gpu0@lab", "gpu1@lab"]  # nothing of the refused one stays


def test_the_workers_of_a_dead_supervisor_are_taken_over(database: Database) -> None:
    _enter(database, ["gpu0@lab"], device="cuda")
    roster.give_up(database, "gpu0@lab", MINE, "ended")
    assert _enter(database, ["gpu0@lab"], OTHER, device="cuda", living=[OTHER]) == ["gpu0@lab"]
    (one,) = roster.listed(database)
    assert (one.wanted, one.reason, one.state) == (True, None, WorkerState.DOWN)
    roster.leave(database, "lab", MINE)  # too late to speak for it
    assert roster.report(database, "lab", MINE, {"gpu0@lab": WorkerState.UP}) == {}
    assert roster.listed(database) == [one]


def test_a_silent_supervisors_workers_are_listed_no_longer(database: Database) -> None:
    _enter(database, ["cpu0@lab"])
    with database.transaction() as connection:
        connection.execute("UPDATE workers SET seen_at = seen_at - interval '1 minute'")
    assert roster.listed(database) == []
    with pytest.raises(NotFound, match="no workers are supervised on host 'lab'"):
        roster.scale(database, "lab", 1)
    assert _enter(database, ["cpu0@lab"], OTHER) == ["cpu0@lab"]


def test_scaling_enters_new_workers_on_a_cpu_and_keeps_the_first_ones(database: Database) -> None:
    _enter(database, ["cpu0@lab"])
    assert roster.scale(database, "lab", 3) == ["cpu0@lab", "cpu1@lab", "cpu2@lab"]
    assert roster.report(database, "lab", MINE, {"cpu0@lab": WorkerState.UP}) == dict.fromkeys(_wanted(database), True)
    roster.scale(database, "lab", 1)
    assert _wanted(database) == {"cpu0@lab": True, "cpu1@lab": False, "cpu2@lab": False}
    roster.scale(database, "lab", 2)
    assert _wanted(database) == {"cpu0@lab": True, "cpu1@lab": True, "cpu2@lab": False}


def test_there_are_no_more_workers_than_gpus_and_healthy_ones_go_first(database: Database) -> None:
    _enter(database, ["gpu0@lab", "gpu1@lab"], device="cuda")
    with pytest.raises(UsageError, match="lab has 2 devices"):
        roster.scale(database, "lab", 3)
    roster.give_up(database, "gpu0@lab", MINE, "ended 3 times")
    assert roster.scale(database, "lab", 1) == ["gpu1@lab"]
    assert [one.reason for one in roster.listed(database)] == ["ended 3 times", None]
    roster.scale(database, "lab", 2)
    assert [one.reason for one in roster.listed(database)] == [None, None]


def test_workers_are_drained_by_name_or_host_all_or_none(database: Database) -> None:
    _enter(database, ["cpu0@lab", "cpu1@lab"])
    with pytest.raises(NotFound, match="no worker or host 'nobody'"):
        roster.drain(database, ["cpu0@lab", "nobody"])
    assert all(_wanted(database).values())
    roster.drain(database, ["cpu1@lab"])
    assert _wanted(database) == {"cpu0@lab": True, "cpu1@lab": False}
    assert set(roster.drain(database, ["lab"])) == {"cpu0@lab", "cpu1@lab"}
    assert not any(_wanted(database).values())


def test_where_several_hosts_are_the_command_asks_which(database: Database) -> None:
    assert "no workers are supervised anywhere" in sciqueue("scale").out
    _enter(database, ["cpu0@lab"])
    roster.enter(database, "rack", OTHER, "cpu", ["cpu0@rack"], lambda _: True)
    refused(sciqueue("scale", "2", "--no-wait"), 2, "choose with --host among lab, rack")
    assert "rack: 2 workers" in sciqueue("scale", "2", "--host", "rack", "--no-wait").out
    assert len(_wanted(database)) == 3
    assert "cpu0@lab: to be drained" in sciqueue("drain", "cpu0@lab", "--no-wait").out
    listed = {one["name"]: one for one in json.loads(sciqueue("scale", "--json").out)}
    assert (listed["cpu0@lab"]["wanted"], listed["cpu1@rack"]["wanted"]) == (False, True)
