"""Approved drugs through `predict`, submit to last row in PostgreSQL, beside ADMET-AI's own predict in one process.

The same molecules as they are given, the same 41 endpoints, descriptors and ranks; the values are compared too.
"""

from __future__ import annotations

import time
from itertools import islice

import pandas as pd

from producer.demo_corpora import approved_drugs
from tests.acceptance.lab import Lab, lab
from tests.benchmarks.figures import Figure, alternate

MOLECULES = 2000
TOLERANCE = 1e-4


def figures() -> list[Figure]:
    """Both ways in turn, each with its models loaded."""
    from admet_ai import ADMETModel

    smiles = [record.content.smiles for record in islice(approved_drugs(), MOLECULES)]  # type: ignore[union-attr]
    theirs = ADMETModel(num_workers=0)
    with lab() as site:
        source = site.home / "drugs.csv"
        pd.DataFrame({"smiles": smiles}).to_csv(source, index_label="number")
        warm = site.home / "warm.csv"
        pd.DataFrame({"smiles": smiles[:200]}).to_csv(warm)
        _run(site, str(warm))
        predicted: list[pd.DataFrame] = []

        def own() -> float:
            began = time.monotonic()
            predicted[:] = [theirs.predict(smiles)]
            return time.monotonic() - began

        seconds = alternate({"ours": lambda: _run(site, str(source)), "theirs": own}, repeats=3)
        _compare(site, predicted[0])
    rates = {way: MOLECULES / taken for way, taken in seconds.items()}
    return [Figure("predict-fp32", "admet_ai, one process", rates["ours"], rates["theirs"], "molecules/s", 3.0)]


def _run(site: Lab, source: str) -> float:
    """Seconds from opening the job to its last row, by the database's clock."""
    site.command("submit", source, "--task", "predict", "--model", "admet-ai", "--param", "standardize=none", "--again")
    done = site.wait(int(site.query("SELECT max(id) AS id FROM sciqueue.jobs")[0]["id"]), 600.0)
    assert done.finished_at is not None
    return (done.finished_at - done.created_at).total_seconds()


def _compare(site: Lab, theirs: pd.DataFrame) -> None:
    """Raise AssertionError if a value of the last job differs from ADMET-AI's own."""
    found = site.query(
        "SELECT p.row, m.endpoints, p.values FROM sciqueue.predictions p JOIN sciqueue.jobs j ON j.id = p.job_id "
        "JOIN sciqueue.models m ON m.id = j.model_id WHERE p.error_code IS NULL "
        "AND p.job_id = (SELECT max(id) FROM sciqueue.jobs) ORDER BY p.row"
    )
    ours = pd.DataFrame([row["values"] for row in found], index=[row["row"] for row in found])
    assert len(ours) > 0.99 * len(theirs)
    for place, name in enumerate(found[0]["endpoints"]):
        expected = theirs[name].reset_index(drop=True)[ours.index]
        difference = ((ours[place] - expected).abs() / expected.abs().clip(lower=1.0)).max()
        assert difference < TOLERANCE, f"{name} differs by {difference:.1e}"
