"""The Python client on real PostgreSQL: jobs, and their rows with outcomes that are completed through the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from worker_part import generate, lab, predict, predict_one, summarize, work

from producer import results
from producer.client import Client, Job
from schemas.database import Database
from schemas.errors import Conflict, NotFound
from schemas.items import Task
from schemas.ledger import jobs
from schemas.outcomes import Prediction
from schemas.states import JobState


@pytest.fixture
def client(database_url: str, tmp_path: Path) -> Iterator[Client]:
    with lab(database_url, tmp_path) as client:
        yield client


@pytest.fixture
def molecules(client: Client, tmp_path: Path) -> Path:
    return tmp_path / "some mols.csv"


def test_a_file_is_predicted_and_given_back_in_input_order(client: Client, database: Database, molecules: Path) -> None:
    job = client.submit(molecules, task="predict")
    work(database, Task.PREDICT, predict)
    done = job.wait(timeout=5)
    assert (done.state, done.succeeded, done.failed) == (JobState.DONE, 2, 2)
    rows = list(job.rows())
    assert list(rows[0].items()) == [
        ("zeta", "z0"),
        ("id", "m0"),
        ("row", "first"),
        ("a", "1"),
        ("custom_id", "m0"),
        ("sciqueue_row", 0),
        ("smiles", "C"),
        ("standardized", "C"),
        ("inchikey", "KEY"),
        ("logS", 1.0),
        ("logS_std", 0.25),
        ("logS_percentile", 50.0),
        ("sciqueue_zeta", 0.1),
        ("zeta_std", None),
        ("zeta_percentile", None),
        ("status", "ok"),
        ("error_code", None),
        ("error", None),
    ]
    assert [row["status"] for row in rows] == ["ok", "ok", "failed", "failed"]
    assert [row["error_code"] for row in rows] == [None, None, "empty_smiles", "too_long"]
    assert [row["zeta"] for row in rows] == ["z0", "z1", "z2", "z3"]
    assert results.columns(database, job.id) == list(rows[0])


def test_failures_and_spreads_can_be_left_out(client: Client, database: Database, molecules: Path) -> None:
    job = client.submit(molecules, task=Task.PREDICT, model="other")
    work(database, Task.PREDICT, predict_one)
    rows = list(job.rows(failures=False, values_only=True))
    assert [row["custom_id"] for row in rows] == ["m0", "m1", "m3"]
    assert [name for name in rows[0] if name.startswith("logS")] == ["logS"]
    assert list(rows[0]) == results.columns(database, job.id, values_only=True)


def test_rows_without_an_outcome_are_pending_and_then_cancelled(client: Client, database: Database) -> None:
    job = client.submit(["C"] * 10, task="predict", name="ten")
    work(database, Task.PREDICT, predict, batches=1)
    assert [row["status"] for row in job.rows()] == ["ok"] * 4 + ["pending"] * 6
    job.cancel()
    assert [row["status"] for row in job.rows()] == ["ok"] * 4 + ["cancelled"] * 6
    assert job.wait(timeout=1).state is JobState.CANCELLED


def test_rows_come_in_order_over_many_pages(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "_PAGE", 3)
    job = client.submit([(f"m{n}", "C" * (n + 1)) for n in range(10)], task="predict", name="ten")
    work(database, Task.PREDICT, lambda item, _: Prediction(item.row, "s", "k", [item.row, 0], [0, 0], [0, 0]))
    assert [(row["row"], row["custom_id"], row["logS"]) for row in job.rows()] == [(n, f"m{n}", n) for n in range(10)]
    generated = client.submit(["C", "N", ""], task="generate", model="fake-generate", name="three", samples=4)
    work(database, Task.GENERATE, generate)
    keys = [(row["row"], row["sample"], row["prompt"], row["status"]) for row in generated.rows()]
    assert keys == [(n, s, "CN"[n : n + 1], "failed" if s == 1 else "ok") for n in range(3) for s in range(4)]


def test_generation_by_count_needs_no_source(client: Client, database: Database) -> None:
    job = client.submit(task="generate", model="fake-generate", count=3, samples=2, seed=5)
    progress = job.progress()
    assert (progress.corpus, progress.total, progress.parameters) == ("free-3", 6, {"samples": 2, "seed": 5})
    work(database, Task.GENERATE, generate)
    first, second, *_ = job.rows()
    assert (first["smiles"], first["valid"], first["alerts"], first["seed"]) == ("C(", False, ["pains"], 7)
    assert (second["sample"], second["status"], second["error_code"]) == (1, "failed", "timeout")
    assert client.submit(task="generate", model="fake-generate", count=3, samples=2, seed=5).id == job.id


def test_summaries_carry_the_papers_identifiers(client: Client, database: Database) -> None:
    paper = {"title": "On tests", "text": "Long. Short.", "doi": "10.1/x", "year": 2020, "topic": "x"}
    job = client.submit([paper], task="summarize", model="fake-summarize", name="papers")
    work(database, Task.SUMMARIZE, summarize)
    (row,) = job.rows()
    assert (row["topic"], row["title"], row["doi"], row["pmid"]) == ("x", "On tests", "10.1/x", None)
    assert (row["summary"], row["coverage"], row["support"], row["tokens"]) == ("Short.", 1.0, 0.25, 2)
    assert row["sentences"] == [{"text": "Short.", "section": 0, "sentence": 1, "score": 0.5}]


def test_a_frame_has_a_row_an_outcome(client: Client, database: Database, molecules: Path) -> None:
    job = client.submit(molecules, task="predict")
    empty = client.submit([], task="predict", name="nothing")
    work(database, Task.PREDICT, predict)
    frame = job.frame(values_only=True)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == results.columns(database, job.id, values_only=True)
    assert frame["logS"].dtype == float
    assert frame.groupby("status").size().to_dict() == {"failed": 2, "ok": 2}
    assert list(empty.frame().columns) == results.columns(database, empty.id)
    assert len(empty.frame()) == 0


def test_a_data_frame_is_a_source(client: Client) -> None:
    frame = pd.DataFrame({"smiles": ["C", "CC"], "id": [7, 8], "ic50": [1.5, float("nan")]})
    rows = list(client.submit(frame, task="predict").rows())
    assert [(row["smiles"], row["custom_id"], row["ic50"]) for row in rows] == [("C", "7", 1.5), ("CC", "8", None)]


def test_waiting_ends_by_time_or_by_a_pause_with_a_reason(client: Client, database: Database) -> None:
    job = client.submit(["C"], task="predict", name="one")
    with pytest.raises(TimeoutError, match="1 outcomes outstanding"):
        job.wait(timeout=0.05, poll=0.01)
    jobs.pause(database, job.id, "the weights are missing")
    with pytest.raises(Conflict, match="the weights are missing"):
        job.wait(timeout=5)
    job.resume()
    assert job.progress().state is JobState.RUNNING
    job.pause()
    assert (job.progress().state, job.progress().reason) == (JobState.PAUSED, None)


def test_failures_are_retried_by_code(client: Client, database: Database) -> None:
    job = client.submit(["C", "CCCC"], task="predict", name="two")
    work(database, Task.PREDICT, predict)
    assert job.retry("timeout") == 0
    assert job.retry("too_long") == 1
    work(database, Task.PREDICT, lambda item, _: Prediction(item.row, "now", "k", [1, 1], [0, 0], [0, 0]))
    assert [row["standardized"] for row in client.job(job.id).rows()] == ["C", "now"]


def test_an_unknown_job_is_not_found(client: Client, database: Database) -> None:
    with pytest.raises(NotFound):
        client.job(99)
    with pytest.raises(NotFound):
        next(results.rows(database, 99))
    assert repr(Job(database, 99)) == "Job(99)"
