"""`sciqueue scale` and `drain` on real processes in the middle of a job."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.acceptance.lab import SCIQUEUE, Lab, lab, until

ROWS = 6_000


def test_a_fleet_grows_and_shrinks_in_the_middle_of_a_job_and_nobody_is_blamed() -> None:
    with lab(slots="4") as site:
        job = _submit(site)
        until(lambda: _done_by(site), 30.0)
        site.command("scale", "3")
        until(lambda: len(_done_by(site)) == 3, 30.0)
        site.command("drain", _name(site, "cpu0"))
        until(lambda: _live(site) == {"cpu1", "cpu2", "suspects-cpu1"}, 20.0)
        site.command("scale", "1")
        until(lambda: _live(site) == {"cpu0", "suspects-cpu0"}, 20.0)  # the first one, again
        assert site.wait(job, 90.0).succeeded == ROWS
        assert site.query("SELECT count(*) AS n FROM sciqueue.batches WHERE crashes > 0") == [{"n": 0}]
        assert {row["closed_for"] for row in site.query("SELECT closed_for FROM sciqueue.leases")} == {"stopped", None}


def test_a_second_supervisor_on_a_host_serves_under_names_of_its_own_and_takes_them_along() -> None:
    with lab(slots="2") as site:
        with _another(site) as supervisor:
            until(lambda: _live(site) == {"cpu0", "suspects-cpu0", "cpu1", "suspects-cpu1"}, 30.0)
            assert _name(site, "cpu1") in site.command("scale").stdout
        assert supervisor.returncode == 0
        assert _live(site) == {"cpu0", "suspects-cpu0"}
        assert site.query("SELECT count(*) AS n FROM sciqueue.workers") == [{"n": 1}]


def _submit(site: Lab) -> int:
    source = site.home / "molecules.smi"
    source.write_text("".join(f"{'C' * 20} m{row}\n" for row in range(ROWS)))
    told = site.command(
        *("submit", str(source), "--task", "predict", "--model", "fake-predict", "--batch-rows", "50", "--json"),
        *("--param", "ns_per_token=100000"),
    )
    return int(json.loads(told.stdout)["job"])


def _done_by(site: Lab) -> set[str]:
    rows = site.query(
        "SELECT DISTINCT l.worker FROM sciqueue.batches b JOIN sciqueue.leases l ON l.id = b.lease_id "
        "WHERE b.state = 'done'"
    )
    return {row["worker"] for row in rows}


def _live(site: Lab) -> set[str]:
    live = site.query("SELECT worker FROM sciqueue.leases WHERE closed_at IS NULL AND expires_at > clock_timestamp()")
    return {row["worker"].partition("@")[0] for row in live}


def _name(site: Lab, device: str) -> str:
    (row,) = site.query("SELECT name FROM sciqueue.workers WHERE name LIKE %s", f"{device}@%")
    return str(row["name"])


@contextmanager
def _another(site: Lab) -> Iterator[subprocess.Popen[bytes]]:
    """A second `sciqueue worker` on this host."""
    supervisor = subprocess.Popen([*SCIQUEUE, "worker", "--device", "cpu"], env=site.environment)
    try:
        yield supervisor
    finally:
        supervisor.terminate()
        supervisor.wait(60.0)
