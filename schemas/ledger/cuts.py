"""Cutting loaded rows into batches, as the dispatcher needs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from schemas.database import Connection, Database

_CUT_AT_A_TIME = 20_000  # rows looked at in one transaction


def cut(database: Database, ahead: int) -> int:
    """Cut rows that are loaded but in no batch yet, for jobs with fewer than `ahead` pending batches.

    Returns how many batches were made. Cutting lazily keeps a ten-million-row job from crowding the table.
    """
    made = 0
    with database.transaction() as connection:
        jobs = uncut(connection, ahead)
    for job in jobs:
        with database.transaction() as connection:
            made += _cut_job(connection, job)
    return made


def uncut(connection: Connection, ahead: int) -> list[int]:
    """The jobs that `cut` would cut rows of."""
    jobs = connection.execute(
        "SELECT j.id FROM jobs j JOIN corpora c ON c.id = j.corpus_id "
        "WHERE j.state = 'running' AND j.cut_row < c.loaded AND (SELECT count(*) FROM (SELECT 1 FROM batches b "
        "WHERE b.job_id = j.id AND b.state = 'pending' LIMIT %(ahead)s) p) < %(ahead)s ORDER BY j.id",
        {"ahead": ahead},
    ).fetchall()
    return [job["id"] for job in jobs]


def _cut_job(connection: Connection, job: int) -> int:
    row = connection.execute(
        "SELECT corpus_id, cut_row, batch_rows, batch_size, samples FROM jobs WHERE id = %s AND state = 'running' "
        "FOR UPDATE SKIP LOCKED",
        (job,),
    ).fetchone()
    if row is None:
        return 0
    sizes = connection.execute(
        "SELECT row, size FROM items WHERE corpus_id = %s AND row >= %s ORDER BY row LIMIT %s",
        (row["corpus_id"], row["cut_row"], _CUT_AT_A_TIME),
    ).fetchall()
    parts = list(slices([(r["row"], r["size"]) for r in sizes], row["batch_rows"], row["batch_size"]))
    with connection.cursor().copy(
        "COPY batches (job_id, first_row, end_row, rows, cost) FROM STDIN (FORMAT BINARY)"
    ) as copy:
        copy.set_types(["int8", "int8", "int8", "int4", "float8"])
        for part, cost in parts:
            copy.write_row((job, part[0], part[-1] + 1, len(part), cost * row["samples"]))
    if sizes:
        connection.execute("UPDATE jobs SET cut_row = %s WHERE id = %s", (sizes[-1]["row"] + 1, job))
    return len(parts)


def slices(sizes: Sequence[tuple[int, int]], rows: int, size: int) -> Iterator[tuple[list[int], float]]:
    """Consecutive rows, at most `rows` of them and `size` characters in all (a larger single row goes alone)."""
    part: list[int] = []
    total = 0
    for row, own in sizes:
        if part and (len(part) == rows or total + own > size):
            yield part, float(max(total, len(part)))
            part, total = [], 0
        part.append(row)
        total += own
    if part:
        yield part, float(max(total, len(part)))
