"""Real articles and real molecules, submitted together, with the real models: every row is accounted for."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.lab import lab

pytestmark = [pytest.mark.data, pytest.mark.slow]


@pytest.mark.timeout(1200)
def test_every_row_of_real_articles_and_molecules_ends_as_one_outcome(data_dir: Path, tmp_path: Path) -> None:
    tox21 = data_dir / "molecules" / "tox21.csv.gz"
    with gzip.open(tox21, "rt", newline="") as file:
        given = list(csv.DictReader(file))
    with lab() as site:
        molecules = json.loads(site.command("submit", str(tox21), "--task", "predict", "--json").stdout)["job"]
        papers = json.loads(site.command("submit", str(data_dir / "jats"), "--task", "summarize", "--json").stdout)[
            "job"
        ]
        for job in (molecules, papers):
            standing = site.wait(job, 1000.0)
            assert standing.done == standing.total == standing.succeeded + standing.failed

        out = tmp_path / "tox21.csv"
        site.command("export", str(molecules), "-o", str(out))
        with out.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["mol_id"] for row in rows] == [row["mol_id"] for row in given]  # the input's order, nothing else
        assert [row["NR-AhR"] for row in rows] == [row["NR-AhR"] for row in given]  # its own columns, untouched
        statuses = Counter(row["status"] for row in rows)
        assert statuses["ok"] + statuses["failed"] == len(given) == 8014
        failed = {row["mol_id"]: row for row in rows if row["status"] == "failed"}
        assert all(row["error_code"] and row["error"] for row in failed.values())
        # The eight that RDKit cannot read; each names its reason.
        assert sum(row["error_code"] == "invalid_smiles" for row in failed.values()) == 8
        report = json.loads(site.command("status", str(molecules), "--json").stdout)
        assert sum(report["failures"].values()) == statuses["failed"]
        print(f"tox21: {dict(statuses)}, failures {report['failures']}")

        lines = site.command("export", str(papers), "--format", "jsonl").stdout.splitlines()
        summaries = [json.loads(line) for line in lines]
        names = [Path(summary["custom_id"]).name for summary in summaries]
        assert sorted(names) == sorted(path.name for path in (data_dir / "jats").iterdir())
        assert all(summary["status"] == "ok" and summary["summary"] and summary["doi"] for summary in summaries)
        unfolded = site.query("SELECT count(*) AS n FROM analysis.predictions WHERE job_id = %s", molecules)[0]["n"]
        assert unfolded == statuses["ok"] * 49  # 41 endpoints and 8 descriptors
