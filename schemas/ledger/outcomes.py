"""The outcome tables: writing results and failures by binary COPY, and keeping the tallies equal to the tables."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

from psycopg.types.json import Jsonb

from schemas.database import Connection
from schemas.items import Task
from schemas.outcomes import Failed, Generation, Outcome, Prediction, Summary, Trained
from schemas.states import TALLY_SHARDS

_LONGEST_MESSAGE = 1000
_FLOAT4 = 700  # its oid

# The rows of a batch among its corpus's items; parameters as the columns of `batches` and `jobs` are named.
IN_BATCH = (
    "i.corpus_id = %(corpus_id)s AND i.row >= %(first_row)s AND i.row < %(end_row)s "
    "AND (%(only_rows)s::int8[] IS NULL OR i.row = ANY(%(only_rows)s::int8[]))"
)

_Columns = dict[str, str]  # column: PostgreSQL type, in the order that the writer gives the values

_SUMMARY: _Columns = {
    "text": "text",
    "sentences": "jsonb",
    "coverage": "float4",
    "tokens": "int4",
    "support": "float4",
}
_PREDICTION: _Columns = {
    "standardized": "text",
    "inchikey": "text",
    "values": "bytea",  # as are the next two: arrays in PostgreSQL's own form, see `_reals`
    "spread": "bytea",
    "percentile": "bytea",
}
_GENERATION: _Columns = {
    "smiles": "text",
    "valid": "bool",
    "nll": "float4",
    "tokens": "int4",
    "seed": "int8",
    "canonical": "text",
    "inchikey": "text",
    "qed": "float4",
    "sa": "float4",
    "logp": "float4",
    "mw": "float4",
    "tpsa": "float4",
    "scaffold": "text",
    "alerts": "text[]",
}
_TRAINING: _Columns = {"model": "text", "revision": "text", "folder": "text", "card": "jsonb"}


def _storable(text: str) -> str:
    """Text that came out of a model or a library as PostgreSQL can hold it: without NUL and lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _summary(outcome: Summary) -> tuple[Any, ...]:
    sentences = [{**asdict(sentence), "text": _storable(sentence.text)} for sentence in outcome.sentences]
    return (_storable(outcome.text), Jsonb(sentences), outcome.coverage, outcome.tokens, outcome.support)


def _reals(values: Sequence[float | None]) -> bytes:
    """A `float4[]` in PostgreSQL's binary form (array_send): psycopg takes ten times as long for each.

    The number of dimensions, whether there are nulls, the type of the elements; of the dimension its length and
    lowest index; then each element behind its length in bytes, which is -1 for null.
    """
    count = len(values)
    if None not in values:
        flat: list[float] = [4] * (2 * count)
        flat[1::2] = values  # type: ignore[assignment]  # no None is among them
        return struct.pack(f">iiIii{'if' * count}", 1, 0, _FLOAT4, count, 1, *flat) if count else _nulls(0)
    if all(value is None for value in values):
        return _nulls(count)
    parts = [struct.pack(">i", -1) if value is None else struct.pack(">if", 4, value) for value in values]
    return struct.pack(">iiIii", 1, 1, _FLOAT4, count, 1) + b"".join(parts)


@cache
def _nulls(count: int) -> bytes:
    if not count:
        return struct.pack(">iiI", 0, 0, _FLOAT4)
    return struct.pack(f">iiIii{count}i", 1, 1, _FLOAT4, count, 1, *[-1] * count)


def _prediction(outcome: Prediction) -> tuple[Any, ...]:
    return (
        outcome.standardized,
        outcome.inchikey,
        _reals(outcome.values),
        _reals(outcome.spread),
        _reals(outcome.percentile),
    )


def _generation(outcome: Generation) -> tuple[Any, ...]:
    text = {"smiles": _storable(outcome.smiles), "alerts": list(outcome.alerts)}
    return tuple(text[name] if name in text else getattr(outcome, name) for name in _GENERATION)


def _trained(outcome: Trained) -> tuple[Any, ...]:
    return (outcome.model, outcome.revision, outcome.folder, Jsonb(outcome.card))


_FORMS: dict[Task, tuple[str, _Columns, type[Outcome], Callable[[Any], tuple[Any, ...]]]] = {
    Task.SUMMARIZE: ("summaries", _SUMMARY, Summary, _summary),
    Task.PREDICT: ("predictions", _PREDICTION, Prediction, _prediction),
    Task.GENERATE: ("generations", _GENERATION, Generation, _generation),
    Task.TRAIN: ("trainings", _TRAINING, Trained, _trained),
}


def table_of(task: Task) -> str:
    """The table that holds a task's outcomes."""
    return _FORMS[task][0]


def write(connection: Connection, task: Task, job: int, batch: int, outcomes: Sequence[Outcome]) -> None:
    """COPY a batch's outcomes. The key (job, row[, sample]) refuses a second outcome for a row.

    Raises:
        TypeError: an outcome is of another task's kind.
        psycopg.errors.UniqueViolation: a row has an outcome already; the transaction fails as a whole.
    """
    table, columns, expected, values_of = _FORMS[task]
    keyed = {"job_id": "int8", "row": "int8", "batch_id": "int8"}
    if task is Task.GENERATE:
        keyed["sample"] = "int4"
    ends = {"error_code": "text", "error": "text"}
    blank = (None,) * len(columns)
    names = ", ".join(f'"{name}"' for name in (*keyed, *columns, *ends))
    with connection.cursor().copy(f"COPY {table} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types([*keyed.values(), *columns.values(), *ends.values()])
        for outcome in outcomes:
            sample = (outcome.sample,) if task is Task.GENERATE else ()
            if isinstance(outcome, Failed):
                message = _storable(outcome.message[:_LONGEST_MESSAGE])
                copy.write_row((job, outcome.row, batch, *sample, *blank, outcome.code.value, message))
            elif isinstance(outcome, expected):
                copy.write_row((job, outcome.row, batch, *sample, *values_of(outcome), None, None))
            else:
                raise TypeError(f"{type(outcome).__name__} is no outcome of the task {task.value}")


def remove_failures(connection: Connection, task: Task, job: int, rows: Sequence[int]) -> set[tuple[int, int]]:
    """Delete the failures that a retry replaces; returns their (row, sample)."""
    sample = "sample" if task is Task.GENERATE else "0 AS sample"
    removed = connection.execute(
        f"DELETE FROM {table_of(task)} WHERE job_id = %s AND row = ANY(%s) "
        f"AND error_code IS NOT NULL RETURNING row, {sample}",
        (job, list(rows)),
    ).fetchall()
    return {(row["row"], row["sample"]) for row in removed}


def count(connection: Connection, job: int, batch: int, succeeded: int, failed: int, replaced: int) -> None:
    """Bring a job's tally to what its outcome table holds now, in the transaction that changes it."""
    connection.execute(
        "UPDATE tallies SET succeeded = succeeded + %s, failed = failed + %s, retrying = retrying - %s "
        "WHERE job_id = %s AND shard = %s",
        (succeeded, failed - replaced, replaced, job, batch % TALLY_SHARDS),
    )
