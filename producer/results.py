"""A job's rows with their outcomes, in the order of the input: what exports write and the Python client yields.

Read page by page along the primary keys, each page in a transaction of its own, so that memory is bounded by a page
and a reader who takes hours neither holds a snapshot open nor is cut off. Rows that a corpus gets after the reading
began are left out, so the header stays true.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from schemas.database import Connection, Database
from schemas.errors import NotFound
from schemas.items import Task
from schemas.ledger.outcomes import table_of
from schemas.states import JobState

PREFIX = "sciqueue_"

_PAGE = 1000  # outcomes read at a time

_Row = dict[str, Any]

_ITEM_COLUMNS = {
    Task.PREDICT: {"smiles": "smiles"},
    Task.GENERATE: {"prompt": "smiles"},
    Task.TRAIN: {},
    Task.SUMMARIZE: {
        "title": "paper->>'title'",
        "doi": "paper->'identifiers'->>'doi'",
        "pmid": "paper->'identifiers'->>'pmid'",
        "pmcid": "paper->'identifiers'->>'pmcid'",
    },
}
_OUTCOME_COLUMNS = {
    Task.PREDICT: {"standardized": "standardized", "inchikey": "inchikey"},
    Task.GENERATE: {
        name: name
        for name in (
            "smiles",
            "valid",
            "canonical",
            "inchikey",
            "nll",
            "tokens",
            "seed",
            "qed",
            "sa",
            "logp",
            "mw",
            "tpsa",
            "scaffold",
            "alerts",
        )
    },
    Task.SUMMARIZE: {
        "summary": "text",
        "coverage": "coverage",
        "support": "support",
        "tokens": "tokens",
        "sentences": "sentences",
    },
    Task.TRAIN: {"model": "model", "revision": "revision", "folder": "folder", "card": "card"},
}
_ARRAYS = {"values": "", "spread": "_std", "percentile": "_percentile"}  # of predictions: the endpoint's ending


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a reading of a job's rows goes by: fixed when it begins."""

    job: int
    corpus: int
    task: Task
    loaded: int
    samples: int
    unfinished: str  # the status of a row without an outcome
    given: list[str]  # the input's columns
    endpoints: list[str]
    arrays: list[str]

    def header(self) -> list[str]:
        """The names of a row's values, in their order."""
        sample = ["sample"] if self.task is Task.GENERATE else []
        endpoints = [name + _ARRAYS[array] for name in self.endpoints for array in self.arrays]
        own = ["custom_id", "row", *sample, *_ITEM_COLUMNS[self.task], *_OUTCOME_COLUMNS[self.task], *endpoints]
        names = list(self.given)
        taken = set(names)
        for name in (*own, "status", "error_code", "error"):
            free = name
            while free in taken:
                free = PREFIX + free
            taken.add(free)
            names.append(free)
        return names


def columns(database: Database, job: int, *, values_only: bool = False) -> list[str]:
    """The header of `rows`: the keys of each of its dicts, in order.

    Raises:
        NotFound: there is no such job.
    """
    return _layout(database, job, values_only).header()


def rows(database: Database, job: int, *, failures: bool = True, values_only: bool = False) -> Iterator[dict[str, Any]]:
    """Every row of a job in the order of its input, one dict a row (for generation: a row and sample).

    First come the input's own columns, in the order in which they first appear, then `custom_id`, `row`, and:

    * predict: `smiles`, `standardized`, `inchikey`, and for each endpoint its value, `<endpoint>_std` (spread over
      the ensemble) and `<endpoint>_percentile` (among approved drugs); with `values_only` the value alone;
    * summarize: `title`, `doi`, `pmid`, `pmcid`, `summary`, `coverage`, `support`, `tokens`, `sentences` (a list of
      dicts with `text`, `section`, `sentence`, `score`);
    * generate: `sample`, `prompt`, `smiles`, `valid`, `canonical`, `inchikey`, `nll`, `tokens`, `seed`, `qed`, `sa`,
      `logp`, `mw`, `tpsa`, `scaffold`, `alerts`;

    last `status` (`ok`, `failed`; without an outcome `pending`, or `cancelled` with the job), `error_code`, `error`.
    All dicts have the same keys; what a row lacks is None. A column of the input keeps its name; one of ours by the
    same name becomes `sciqueue_<name>`. With `failures` false only rows with a result are given.

    Raises (when the first row is asked for):
        NotFound: there is no such job.
    """
    layout = _layout(database, job, values_only)
    header = layout.header()
    total = layout.loaded * layout.samples
    for first in range(0, total, _PAGE):
        page = _page(database, layout, first, min(first + _PAGE, total))
        for values, ok in page:
            if ok or failures:
                yield dict(zip(header, values, strict=True))


def _layout(database: Database, job: int, values_only: bool) -> _Layout:
    with database.transaction() as connection:
        row = connection.execute(
            "SELECT j.corpus_id, j.task, j.samples, j.state, c.loaded, m.endpoints FROM jobs j "
            "JOIN corpora c ON c.id = j.corpus_id JOIN models m ON m.id = j.model_id WHERE j.id = %s",
            (job,),
        ).fetchone()
        if row is None:
            raise NotFound(f"no job {job}; 'sciqueue jobs' lists those there are")
        given = connection.execute(
            "SELECT name FROM items, json_object_keys(columns) WITH ORDINALITY AS given (name, place) "
            "WHERE corpus_id = %s AND row < %s AND columns IS NOT NULL "
            "GROUP BY name ORDER BY min(row * 1048576 + place)",
            (row["corpus_id"], row["loaded"]),
        ).fetchall()
    task = Task(row["task"])
    return _Layout(
        job=job,
        corpus=row["corpus_id"],
        task=task,
        loaded=row["loaded"],
        samples=row["samples"],
        unfinished="cancelled" if row["state"] == JobState.CANCELLED else "pending",
        given=[key["name"] for key in given],
        endpoints=row["endpoints"] if task is Task.PREDICT else [],
        arrays=["values"] if values_only else list(_ARRAYS),
    )


def _page(database: Database, layout: _Layout, first: int, end: int) -> Iterator[tuple[list[Any], bool]]:
    """The values of the outcomes numbered `first` to `end` (exclusive), samples counted; and whether each is a result.

    Items and outcomes are two short reads along their keys, joined here.
    """
    bounds = divmod(first, layout.samples), divmod(end, layout.samples)
    with database.transaction() as connection:
        items = _items(connection, layout, bounds[0][0], divmod(end - 1, layout.samples)[0])
        outcomes = _outcomes(connection, layout, *bounds)
    for place in range(first, end):
        row, sample = divmod(place, layout.samples)
        outcome = outcomes.get((row, sample))
        values = _values(layout, items[row], sample, outcome or {})
        if outcome is None:
            values += (layout.unfinished, None, None)
        else:
            failed = outcome["error_code"] is not None
            values += ("failed" if failed else "ok", outcome["error_code"], outcome["error"])
        yield values, outcome is not None and outcome["error_code"] is None


def _items(connection: Connection, layout: _Layout, first: int, last: int) -> dict[int, _Row]:
    wanted = ", ".join(f"{expression} AS {name}" for name, expression in _ITEM_COLUMNS[layout.task].items())
    found = connection.execute(
        f"SELECT row, custom_id, columns, {wanted} FROM items WHERE corpus_id = %s AND row BETWEEN %s AND %s",
        (layout.corpus, first, last),
    ).fetchall()
    return {item["row"]: item for item in found}


def _outcomes(
    connection: Connection, layout: _Layout, first: tuple[int, int], end: tuple[int, int]
) -> dict[tuple[int, int], _Row]:
    arrays = layout.arrays if layout.endpoints else []
    wanted = ", ".join(f'"{name}"' for name in (*_OUTCOME_COLUMNS[layout.task].values(), *arrays))
    if layout.task is Task.GENERATE:
        sample, within = "sample", "(row, sample) >= (%s, %s) AND (row, sample) < (%s, %s)"
        bounds: tuple[int, ...] = (*first, *end)
    else:
        sample, within, bounds = "0 AS sample", "row >= %s AND row < %s", (first[0], end[0])
    found = connection.execute(
        f"SELECT row, {sample}, {wanted}, error_code, error FROM {table_of(layout.task)} "
        f"WHERE job_id = %s AND {within}",
        (layout.job, *bounds),
    ).fetchall()
    return {(outcome["row"], outcome["sample"]): outcome for outcome in found}


def _values(layout: _Layout, item: _Row, sample: int, outcome: _Row) -> list[Any]:
    """A row's values but for the last three."""
    given = item["columns"] or {}
    values = [given.get(name) for name in layout.given]
    values += (item["custom_id"], item["row"])
    if layout.task is Task.GENERATE:
        values.append(sample)
    values += [item[name] for name in _ITEM_COLUMNS[layout.task]]
    values += [outcome.get(column) for column in _OUTCOME_COLUMNS[layout.task].values()]
    nothing = [None] * len(layout.endpoints)
    arrays = [outcome.get(array) or nothing for array in layout.arrays] if layout.endpoints else []
    for of_endpoint in zip(*arrays, strict=True):
        values += of_endpoint
    return values
