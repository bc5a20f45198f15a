"""A job from submit to its last row, as the benchmarks time it."""

from __future__ import annotations

from tests.acceptance.lab import Lab


def job_seconds(site: Lab, source: str, model: str) -> float:
    """Seconds from opening a job over molecules, taken as they are, to its last row, by the database's clock."""
    site.command("submit", source, "--model", model, "--param", "standardize=none", "--again")
    job = int(site.query("SELECT max(id) AS id FROM sciqueue.jobs")[0]["id"])
    done = site.wait(job, 600.0, poll=0.5)  # to look more often takes the processor from what is timed
    assert done.finished_at is not None
    return (done.finished_at - done.created_at).total_seconds()
