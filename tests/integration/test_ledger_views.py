"""What analysts see: the views of schema `analysis`, and what their role may read."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from ledger_model import answer, entry_for, load, records, worker_info

from schemas.database import Database
from schemas.errors import RowError
from schemas.items import ContentKind, Paper, Record, Section, Task
from schemas.ledger import claims, cuts, dispatches, jobs, leases
from schemas.ledger.dispatches import Lane
from schemas.outcomes import Outcome, Summary, SummarySentence
from schemas.registry import ModelEntry

PAPER = Paper("A title", (Section("", ("One.",)),), identifiers={"doi": "10.1/x", "pmid": "7", "pmcid": "PMC7"})


def see(database: Database, view: str, condition: str = "true") -> list[dict[str, Any]]:
    with database.transaction() as connection:
        return connection.execute(f"SELECT * FROM analysis.{view} WHERE {condition} ORDER BY job_id, row").fetchall()


def done(database: Database, entry: ModelEntry, *, samples: int = 1) -> int:
    """A finished job over three rows: row 1 was rejected while loading, and row 2 failed."""
    task = entry.task
    if task is Task.SUMMARIZE:
        rows = [Record(PAPER, "first"), *records(ContentKind.MOLECULE, 2, rejected=lambda _: True)[1:], Record(PAPER)]
    else:
        rows = records(task.content, 3, rejected=lambda row: row == 1)
    corpus = load(database, f"corpus of {entry.name}", task.content, rows)
    model = jobs.pin_model(database, entry, "r1")
    job, _ = jobs.open_job(database, corpus, model, entry, {"temperature": 1}, samples=samples)
    cuts.cut(database, 9)
    with database.transaction() as connection:
        waiting = dispatches.waiting(connection, Lane(task, None), 1)
    (sent,) = dispatches.dispatch(database, [w.batch for w in waiting], task.queue)
    batch = claims.claim(database, sent.message, leases.take(database, worker_info("gpu0@lab"), 3600))
    assert batch is not None
    outcomes: list[Outcome] = answer(batch, lambda row, _: RowError.TOO_LONG if row == 2 else None)
    if task is Task.SUMMARIZE:
        outcomes[0] = Summary(0, "One.", (SummarySentence("One.", 0, 0, 0.5),), 1.0, 2, support=0.25)
    claims.complete(database, batch, outcomes)
    assert jobs.finish(database) == [job]
    return job


def test_predictions_are_unfolded_to_a_line_an_endpoint(database: Database) -> None:
    job = done(database, entry_for(Task.PREDICT, endpoints=("logp", "tox")))
    both = {"job_id": job, "row": 0, "custom_id": "id-0", "smiles": "C", "standardized": "CCO", "inchikey": "KEY"}
    assert see(database, "predictions") == [
        {
            **both,
            "endpoint": "logp",
            "kind": "regression",
            "units": "eV",
            "value": 0.5,
            "spread": None,
            "percentile": 50,
        },
        {
            **both,
            "endpoint": "tox",
            "kind": "regression",
            "units": "eV",
            "value": None,
            "spread": 0.25,
            "percentile": None,
        },
    ]


def test_each_model_has_a_view_with_a_column_an_endpoint(database: Database) -> None:
    entry = entry_for(Task.PREDICT, endpoints=("logp", "Tox 21", "smiles"))
    job = done(database, entry.model_copy(update={"endpoints": entry.endpoints[:2]}))
    (row,) = see(database, "predictions_test_predict")
    assert row == {
        "job_id": job,
        "row": 0,
        "custom_id": "id-0",
        "smiles": "C",
        "standardized": "CCO",
        "inchikey": "KEY",
        "logp": 0.5,
        "Tox 21": None,
    }


def test_a_new_revision_with_other_endpoints_renews_the_view_and_one_with_the_same_keeps_it(database: Database) -> None:
    entry = entry_for(Task.PREDICT)
    jobs.pin_model(database, entry, "r1")
    with database.transaction() as connection:
        connection.execute("CREATE VIEW public.mine AS SELECT a FROM analysis.predictions_test_predict")
    jobs.pin_model(database, entry, "r2")
    with database.transaction() as connection:
        connection.execute("DROP VIEW public.mine")
    jobs.pin_model(database, entry_for(Task.PREDICT, endpoints=("job_id", "c")), "r3")
    with database.transaction() as connection:
        cursor = connection.execute("SELECT * FROM analysis.predictions_test_predict")
        assert [column.name for column in cursor.description or ()][-2:] == ["job_id_value", "c"]


def test_summaries_come_with_their_papers_identifiers(database: Database) -> None:
    job = done(database, entry_for(Task.SUMMARIZE))
    (row,) = see(database, "summaries")
    assert row == {
        "job_id": job,
        "row": 0,
        "custom_id": "first",
        "title": "A title",
        "doi": "10.1/x",
        "pmid": "7",
        "pmcid": "PMC7",
        "summary": "One.",
        "sentences": [{"text": "One.", "section": 0, "sentence": 0, "score": 0.5}],
        "coverage": 1.0,
        "tokens": 2,
        "support": 0.25,
    }


def test_generations_come_with_their_prompt_and_seed(database: Database) -> None:
    done(database, entry_for(Task.GENERATE), samples=2)
    seen = [
        (r["row"], r["sample"], r["prompt"], r["smiles"], r["valid"], r["seed"]) for r in see(database, "generations")
    ]
    assert sorted(seen) == [(0, 0, "C", "CCO", True, 0), (0, 1, "C", "CCO", True, 1)]


def test_failures_and_provenance_cover_all_tasks(database: Database) -> None:
    predicted = done(database, entry_for(Task.PREDICT))
    summarized = done(database, entry_for(Task.SUMMARIZE))
    generated = done(database, entry_for(Task.GENERATE), samples=2)
    failures = {(r["job_id"], r["row"], r["sample"]): (r["task"], r["error_code"]) for r in see(database, "failures")}
    for job, task, samples in ((predicted, "predict", 1), (summarized, "summarize", 1), (generated, "generate", 2)):
        for sample in range(samples):
            assert failures.pop((job, 1, sample)) == (task, "empty_smiles")
            assert failures.pop((job, 2, sample)) == (task, "too_long")
    assert failures == {}
    provenance = see(database, "provenance")
    assert len(provenance) == 3 + 3 + 6
    for row in provenance:
        assert (row["revision"], row["worker"], row["versions"]) == ("r1", "gpu0@lab", {"sciqueue": "0"})
        assert (row["parameters"], row["precision"]) == ({"temperature": 1}, "fp32")
        assert row["started_at"] <= row["finished_at"]


def test_the_jobs_view_counts_outcomes(database: Database) -> None:
    job = done(database, entry_for(Task.GENERATE), samples=2)
    with database.transaction() as connection:
        rows = connection.execute("SELECT * FROM analysis.jobs").fetchall()
    assert [(r["job_id"], r["state"], r["total"], r["succeeded"], r["failed"]) for r in rows] == [
        (job, "done", 6, 2, 4)
    ]


def test_the_readers_role_sees_the_views_and_not_the_ledger(database: Database) -> None:
    done(database, entry_for(Task.PREDICT))
    views = ["predictions", "predictions_test_predict", "summaries", "generations"]
    views += ["failures", "provenance", "jobs", "outstanding"]
    with database.transaction() as connection:
        if not connection.execute("SELECT FROM pg_roles WHERE rolname = 'sciqueue_reader'").rowcount:
            pytest.skip("this server does not let us make roles")
        connection.execute("SET LOCAL ROLE sciqueue_reader")
        for view in views:
            connection.execute(f"SELECT count(*) FROM analysis.{view}")
    for refused in ("SELECT * FROM sciqueue.jobs", "CREATE TABLE analysis.mine (id int)"):
        with database.transaction() as connection:
            connection.execute("SET LOCAL ROLE sciqueue_reader")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(refused)
            connection.rollback()
