"""Submitting: what is the same work, what is refused, and what is left behind, on real PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from worker_part import lab, predict, work

from producer.client import Client
from producer.readers.options import ReadOptions
from schemas.database import Database
from schemas.errors import CorpusChanged, NotFound, UsageError
from schemas.items import Task
from schemas.ledger.corpora import Corpus


@pytest.fixture
def client(database_url: str, tmp_path: Path) -> Iterator[Client]:
    with lab(database_url, tmp_path) as client:
        yield client


@pytest.fixture
def molecules(client: Client, tmp_path: Path) -> Path:
    return tmp_path / "some mols.csv"


def test_the_same_file_twice_is_the_same_job_and_is_not_read_again(
    client: Client, molecules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = client.submit(molecules, task="predict")
    assert re.fullmatch(r"some-mols-[0-9a-f]{8}", job.progress().corpus)
    with monkeypatch.context() as patch:
        patch.setattr("producer.submission.read", lambda *_, **__: iter(()))  # an empty source would be refused
        assert client.submit(str(molecules), task="predict").id == job.id
    assert client.submit(molecules, task="predict", again=True).id != job.id


def test_a_second_model_or_parameter_shares_the_corpus(client: Client, database: Database, molecules: Path) -> None:
    first = client.submit(molecules, task="predict").progress()
    second = client.submit(molecules, task="predict", model="other").progress()
    third = client.submit(molecules, task="predict", threshold=0.7).progress()
    assert first.corpus_id == second.corpus_id == third.corpus_id
    assert len({first.id, second.id, third.id}) == 3
    assert third.parameters == {"threshold": 0.7, "note": ""}
    with database.transaction() as connection:
        assert connection.execute("SELECT count(*) AS n FROM items").fetchone() == {"n": 4}


def test_a_file_that_changed_or_is_read_otherwise_is_another_corpus(client: Client, molecules: Path) -> None:
    first = client.submit(molecules, task="predict").progress()
    other = client.submit(molecules, task="predict", options=ReadOptions(id_column="zeta")).progress()
    molecules.write_text(molecules.read_text() + "z4,CCCCC,m4,fifth,5\n")
    changed = client.submit(molecules, task="predict").progress()
    assert len({first.corpus_id, other.corpus_id, changed.corpus_id}) == 3
    assert (first.total, changed.total) == (4, 5)


def test_a_named_corpus_is_verified_and_no_job_is_opened_on_other_rows(client: Client, molecules: Path) -> None:
    job = client.submit(molecules, task="predict", name="mine")
    assert client.submit(molecules, task="predict", name="mine").id == job.id
    molecules.write_text(molecules.read_text().replace("CC,", "CN,"))
    with pytest.raises(CorpusChanged, match="'mine'"):
        client.submit(molecules, task="predict", name="mine", model="other")
    assert [known.id for known in client.jobs()] == [job.id]


def test_a_broken_off_iterable_continues_under_its_name(client: Client, database: Database) -> None:
    def broken() -> Iterator[str]:
        yield from ("C", "CC")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.submit(broken(), task="predict", name="stream")
    (job,) = client.jobs()
    assert not job.progress().sealed
    assert client.submit(["C", "CC", "CCC"], task="predict", name="stream").id == job.id
    assert [row["smiles"] for row in job.rows()] == ["C", "CC", "CCC"]


def test_the_job_runs_while_its_corpus_loads(client: Client, database: Database) -> None:
    seen: list[int] = []

    def watch(corpus: Corpus) -> None:
        if not corpus.sealed:
            work(database, Task.PREDICT, predict)
            seen.append(client.jobs()[0].progress().succeeded)

    job = client.submit(("C" for _ in range(10_100)), task="predict", name="live", batch_rows=5000, on_progress=watch)
    assert seen == [10_000]
    assert not job.progress().ended


@pytest.mark.parametrize(
    ("given", "fault", "says"),
    [
        ({"source": ["C"], "task": "sing"}, UsageError, "no task 'sing'; there are: predict, summarize, generate"),
        ({"source": ["C"], "task": "predict", "model": "fake-generate"}, UsageError, "for the task generate"),
        ({"source": ["C"], "task": "predict", "model": "no"}, NotFound, "no model 'no'"),
        ({"source": ["C"], "task": "predict", "thrshold": 1}, UsageError, "there are: note=, threshold=0.5"),
        ({"source": ["C"], "task": "predict", "threshold": "high"}, UsageError, "'threshold' is a number"),
        ({"source": ["C"], "task": "predict", "priority": "urgent"}, UsageError, "no priority"),
        ({"source": ["C"], "task": "predict", "count": 2}, UsageError, "in place of a source"),
        ({"source": "-", "task": "predict", "options": ReadOptions(format="smi")}, UsageError, "--name"),
        ({"source": "absent.csv", "task": "predict"}, NotFound, "absent.csv"),
        ({"source": None, "task": "predict"}, UsageError, "name a source"),
        ({"task": "generate", "model": "fake-generate", "count": 0}, UsageError, "at least 1"),
        ({"source": [""], "task": "generate", "model": "fake-generate", "samples": 1.5}, UsageError, "whole number"),
        ({"source": "C", "task": "generate", "model": "fake-generate", "count": 2}, UsageError, "in place of"),
    ],
)
def test_what_cannot_be_submitted_is_refused_and_leaves_nothing_behind(
    client: Client, database: Database, given: dict[str, Any], fault: type[Exception], says: str
) -> None:
    with pytest.raises(fault, match=re.escape(says)):
        client.submit(**given)
    with database.transaction() as connection:
        counts = "SELECT (SELECT count(*) FROM corpora) + (SELECT count(*) FROM jobs) AS n"
        assert connection.execute(counts).fetchone() == {"n": 0}


def test_a_file_without_a_smiles_column_leaves_nothing_behind(
    client: Client, database: Database, tmp_path: Path
) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="smiles"):
        client.submit(file, task="predict")
    assert client.jobs() == []
    with database.transaction() as connection:
        assert connection.execute("SELECT count(*) AS n FROM corpora").fetchone() == {"n": 0}
