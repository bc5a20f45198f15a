"""A job from submit to its last row, as the benchmarks time it."""

from __future__ import annotations

from tests.acceptance.lab import Lab


def job_seconds(site: Lab, source: str, model: str) -> float:
    """Seconds from opening a job over molecules, taken as they are, to its last row, by the database's clock."""
    site.command("submit", source, "--model", model, "--param", "standardize=none", "--again")
    done = site.wait(int(site.query("SELECT max(id) AS id FROM sciqueue.jobs")[0]["id"]), 600.0)
    assert done.finished_at is not None
    return (done.finished_at - done.created_at).total_seconds()
