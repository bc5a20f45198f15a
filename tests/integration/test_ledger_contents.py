"""What goes into the ledger comes out the same: corpora, outcomes, and counts at a cost that does not grow."""

from __future__ import annotations

from typing import Any

import pytest
from ledger_model import answer, entry_for, load, records, worker_info

from schemas.database import Database
from schemas.errors import Conflict, CorpusChanged, RowError
from schemas.items import ContentKind, Item, Molecule, Paper, Prompt, Record, Rejected, Section, Task
from schemas.ledger import claims, corpora, cuts, dispatches, jobs, leases, progress
from schemas.ledger.claims import ClaimedBatch
from schemas.ledger.dispatches import Lane
from schemas.outcomes import Failed, Generation, Prediction, Summary, SummarySentence

PAPER = Paper(
    title="Über μ-opioids 💊",
    sections=(Section("", ("One. Two.", "Three.")), Section('Methods \\ "quoted"', ("A\ttab\nand a line.",))),
    abstract="Short.",
    identifiers={"doi": "10.1/x", "year": "2020"},
)


def claimed(
    database: Database, task: Task, rows: list[Record], *, samples: int = 1, batch_rows: int = 10
) -> ClaimedBatch:
    """A running batch over these rows."""
    entry = entry_for(task, rows=batch_rows, size=10**9)
    corpus = load(database, f"rows of {task}", task.content, rows)
    jobs.open_job(database, corpus, jobs.pin_model(database, entry, "r1"), entry, {}, samples=samples)
    return claim_next(database, task)


def claim_next(database: Database, task: Task) -> ClaimedBatch:
    cuts.cut(database, 9)
    with database.transaction() as connection:
        waiting = dispatches.waiting(connection, Lane(task, None), 1)
    (sent,) = dispatches.dispatch(database, [w.batch for w in waiting], task.queue)
    batch = claims.claim(database, sent.message, leases.take(database, worker_info(), 3600))
    assert batch is not None
    return batch


def stored(database: Database, table: str) -> list[dict[str, Any]]:
    with database.transaction() as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY row").fetchall()


def test_a_worker_gets_the_items_that_were_loaded(database: Database) -> None:
    bad = Rejected(RowError.MALFORMED_XML, "no paper", excerpt="<article")
    batch = claimed(database, Task.SUMMARIZE, [Record(PAPER, "PMC1", {"b": 1, "a": None}), Record(bad, "PMC2")])
    assert batch.items == (
        Item(0, PAPER, "PMC1"),
        Item(1, Rejected(RowError.MALFORMED_XML, "no paper"), "PMC2"),
    )
    kept, rejected = stored(database, "items")
    assert list(kept["columns"].items()) == [("b", 1), ("a", None)]  # in the source's order
    assert (rejected["smiles"], rejected["columns"]) == ("<article", None)


def test_a_prompt_may_be_empty_and_a_molecule_is_kept_as_written(database: Database) -> None:
    assert claimed(database, Task.GENERATE, [Record(Prompt())]).items == (Item(0, Prompt("")),)
    assert claimed(database, Task.PREDICT, [Record(Molecule("OC c"))]).items == (Item(0, Molecule("OC c")),)


def test_a_corpus_grows_behind_what_is_loaded_and_ends_with_its_seal(database: Database) -> None:
    empty = corpora.ensure(database, "molecules", ContentKind.MOLECULE, "file.smi")
    assert (empty.loaded, empty.digest, empty.sealed) == (0, b"", False)
    rows = records(ContentKind.MOLECULE, 3, rejected=lambda row: row == 1)
    first = corpora.append(database, empty, rows, b"one")
    second = corpora.append(database, first, rows, b"two")
    assert (second.loaded, second.rejected, second.digest) == (6, 2, b"two")
    with pytest.raises(CorpusChanged):
        corpora.append(database, first, rows, b"again")
    with pytest.raises(CorpusChanged):
        corpora.seal(database, first)
    sealed = corpora.seal(database, second)
    assert sealed.sealed and corpora.seal(database, sealed) == sealed
    with pytest.raises(CorpusChanged):
        corpora.append(database, sealed, rows, b"three")
    assert corpora.ensure(database, "molecules", ContentKind.MOLECULE, "file.smi") == sealed
    assert [row["row"] for row in stored(database, "items")] == list(range(6))


def test_a_corpus_name_stands_for_one_kind_of_content(database: Database) -> None:
    corpora.ensure(database, "mine", ContentKind.MOLECULE, "file.smi")
    with pytest.raises(Conflict, match="holds molecules, not papers"):
        corpora.ensure(database, "mine", ContentKind.PAPER, "file.xml")


def test_a_chunk_that_cannot_be_stored_leaves_the_corpus_as_it_was(database: Database) -> None:
    corpus = corpora.ensure(database, "molecules", ContentKind.MOLECULE, "file.smi")
    with pytest.raises(Exception, match="0x00"):
        corpora.append(database, corpus, [Record(Molecule("C")), Record(Molecule("C\0"))], b"one")
    assert corpora.ensure(database, "molecules", ContentKind.MOLECULE, "file.smi") == corpus
    assert stored(database, "items") == []


def test_what_postgresql_cannot_hold_in_a_models_text_is_replaced(database: Database) -> None:
    wild, tame = "a\0b\ud800c", "a\ufffdb?c"
    batch = claimed(database, Task.SUMMARIZE, [Record(PAPER), Record(PAPER)])
    sentence = SummarySentence(wild, 0, 1, 0.5)
    failure = Failed(1, RowError.ENGINE, wild + "x" * 5000)
    claims.complete(database, batch, [Summary(0, wild, (sentence,), 0.5, 3), failure])
    summary, failed = stored(database, "summaries")
    assert (summary["text"], summary["sentences"][0]["text"]) == (tame, tame)
    assert failed["error"].startswith(tame) and len(failed["error"]) == 1000
    generated = claimed(database, Task.GENERATE, [Record(Prompt())])
    claims.complete(database, generated, [Generation(0, 0, wild, False, 1.0, 2, seed=2**60)])
    (row,) = stored(database, "generations")
    assert (row["smiles"], row["valid"], row["seed"], row["alerts"]) == (tame, False, 2**60, [])


def test_a_prediction_keeps_missing_values_and_values_that_are_no_number(database: Database) -> None:
    batch = claimed(database, Task.PREDICT, records(ContentKind.MOLECULE, 2))
    nan, infinite = float("nan"), float("inf")
    claims.complete(
        database,
        batch,
        [
            Prediction(0, "C", "K", [None, None], [None, None], [None, None]),
            Prediction(1, "C", "K", [nan, infinite], (0.5, None), [100.0, None]),
        ],
    )
    missing, odd = stored(database, "predictions")
    assert missing["values"] == [None, None]
    assert odd["values"][0] != odd["values"][0] and odd["values"][1] == infinite
    assert (odd["spread"], odd["percentile"], odd["error_code"]) == ([0.5, None], [100.0, None], None)


def test_an_outcome_of_another_task_is_refused_and_nothing_is_written(database: Database) -> None:
    batch = claimed(database, Task.PREDICT, records(ContentKind.MOLECULE, 2))
    good = answer(batch)[0]
    with pytest.raises(TypeError, match="Summary is no outcome of the task predict"):
        claims.complete(database, batch, [good, Summary(1, "text", (), 1.0, 1)])
    assert stored(database, "predictions") == []
    claims.complete(database, batch, answer(batch))


def test_progress_costs_the_same_for_a_large_job_as_for_a_small_one(database: Database) -> None:
    read = {}
    for rows in (1_000, 200_000):
        batch = claimed(database, Task.PREDICT, records(ContentKind.MOLECULE, rows // 10), batch_rows=20_000)
        claims.complete(database, batch, answer(batch))
        with database.transaction() as connection:  # the other nine tenths, without a worker's time
            corpus = progress.of_job(database, batch.job).corpus_id
            for table, key, id in (
                ("items", "corpus_id, size", corpus),
                ("predictions", "job_id, batch_id", batch.job),
            ):
                connection.execute(
                    f"INSERT INTO {table} ({key}, row) SELECT %s, 1, generate_series(%s, %s - 1)",
                    (id, rows // 10, rows),
                )
            connection.execute("UPDATE corpora SET loaded = %s, name = name || id WHERE id = %s", (rows, corpus))
            connection.execute("UPDATE jobs SET cut_row = %s WHERE id = %s", (rows, batch.job))
        with database.transaction() as connection:
            connection.execute("ANALYZE")
        assert progress.of_job(database, batch.job).total == rows
        with database.transaction() as connection:
            plan = connection.execute(
                "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + progress._QUERY + "WHERE j.id = %s", (batch.job,)
            ).fetchone()
        assert plan is not None
        top = plan["QUERY PLAN"][0]["Plan"]
        read[rows] = top["Shared Hit Blocks"] + top["Shared Read Blocks"]
    assert read[200_000] <= 2 * read[1_000] and read[200_000] < 50, read
