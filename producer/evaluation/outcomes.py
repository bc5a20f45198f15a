"""A finished job's outcomes beside the rows they are of, as evaluations read them: page by page, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from schemas.database import Database
from schemas.errors import Conflict
from schemas.items import Task
from schemas.ledger import progress
from schemas.ledger.outcomes import table_of
from schemas.ledger.progress import JobProgress
from schemas.registry import ModelEntry
from schemas.states import JobState

_PAGE = 1000

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finished:
    """A job that is done, its model's entry as it was at submit, and where its corpus came from."""

    progress: JobProgress
    entry: ModelEntry
    model_id: int
    source: str


def finished(database: Database, job: int) -> Finished:
    """The job, if all its outcomes are there.

    Raises:
        NotFound: there is no such job.  Conflict: it is not done.
    """
    standing = progress.of_job(database, job)
    if standing.state is not JobState.DONE:
        raise Conflict(
            f"job {job} is {standing.state.value} with {standing.done:,} of {standing.total:,} outcomes; only a job "
            f"that is done can be judged ('sciqueue watch {job}' waits for it)"
        )
    with database.transaction() as connection:
        row = connection.execute(
            "SELECT m.id, m.entry, c.source FROM jobs j JOIN models m ON m.id = j.model_id "
            "JOIN corpora c ON c.id = j.corpus_id WHERE j.id = %s",
            (job,),
        ).fetchone()
    assert row is not None  # noqa: S101 - a job keeps its model and corpus
    return Finished(standing, ModelEntry.model_validate(row["entry"]), row["id"], row["source"])


def outcomes(database: Database, job: JobProgress) -> Iterator[Row]:
    """Every outcome of a job in order: all columns of its outcome table, and of its row `given_smiles`, `given_paper`
    (as `Paper.to_json`) and `given_columns` (the source's other columns, or None).
    """
    samples = job.task is Task.GENERATE
    order = "o.row, o.sample" if samples else "o.row"
    last: tuple[int, ...] = (-1, -1) if samples else (-1,)
    query = (
        "SELECT o.*, i.smiles AS given_smiles, i.paper AS given_paper, i.columns AS given_columns "
        f"FROM {table_of(job.task)} o JOIN items i ON i.corpus_id = %s AND i.row = o.row "
        f"WHERE o.job_id = %s AND ({order}) > ({', '.join(['%s'] * len(last))}) ORDER BY {order} LIMIT {_PAGE}"
    )
    while True:
        with database.transaction() as connection:
            page = connection.execute(query, (job.corpus_id, job.id, *last)).fetchall()
        yield from page
        if len(page) < _PAGE:
            return
        last = (page[-1]["row"], page[-1]["sample"]) if samples else (page[-1]["row"],)


def column_names(database: Database, job: JobProgress) -> list[str]:
    """The source's other columns, in the order in which rows bring them."""
    with database.transaction() as connection:
        found = connection.execute(
            "SELECT name FROM items, json_object_keys(columns) WITH ORDINALITY AS given (name, place) "
            "WHERE corpus_id = %s AND columns IS NOT NULL GROUP BY name ORDER BY min(row), min(place)",
            (job.corpus_id,),
        ).fetchall()
    return [row["name"] for row in found]
