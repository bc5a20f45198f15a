"""Loading a corpus: a chunk of rows and the place in the source they end at are committed together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb
from pydantic_core import to_json  # several times as fast as the standard library's encoder on small objects

from schemas.database import Connection, Database
from schemas.errors import Conflict, CorpusChanged
from schemas.items import ContentKind, Paper, Record, Rejected

# Column: how its values are sent. The binary form of `json` is its text, so ready bytes need no wrapping.
_COPIED_AS = {
    "corpus_id": "int8",
    "row": "int8",
    "custom_id": "text",
    "smiles": "text",
    "paper": "jsonb",
    "columns": "bytea",
    "size": "int4",
    "error_code": "text",
    "error": "text",
}


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus as it stands. `digest` is the rolling hash of its first `loaded` rows."""

    id: int
    name: str
    content: ContentKind
    loaded: int
    rejected: int
    digest: bytes
    sealed: bool


def find(database: Database, name: str) -> Corpus | None:
    """The corpus of that name, or None."""
    with database.transaction() as connection:
        return _read(connection, "name = %s", name)


def ensure(database: Database, name: str, content: ContentKind, source: str) -> Corpus:
    """Find the corpus of that name, or make an empty one.

    Raises:
        Conflict: the name is taken by a corpus of another kind of content.
    """
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO corpora (name, content, source, digest) VALUES (%s, %s, %s, ''::bytea) "
            "ON CONFLICT (name) DO NOTHING",
            (name, content.value, source),
        )
        corpus = _expect(connection, "name = %s", name)
    if corpus.content is not content:
        raise Conflict(f"corpus '{name}' holds {corpus.content.value}s, not {content.value}s; choose another --name")
    return corpus


def append(database: Database, corpus: Corpus, records: Sequence[Record], digest: bytes) -> Corpus:
    """Add a chunk of rows behind the loaded ones. `digest` is the rolling hash with them.

    Raises:
        CorpusChanged: another process loaded rows in the meantime, or the corpus is sealed.
    """
    rejected = sum(isinstance(record.content, Rejected) for record in records)
    with database.transaction() as connection:
        moved = connection.execute(
            "UPDATE corpora SET loaded = loaded + %s, rejected = rejected + %s, digest = %s "
            "WHERE id = %s AND loaded = %s AND sealed_at IS NULL",
            (len(records), rejected, digest, corpus.id, corpus.loaded),
        )
        if moved.rowcount == 0:
            raise CorpusChanged(f"corpus '{corpus.name}' is being loaded by another process; wait for it, or stop it")
        with connection.cursor().copy(f"COPY items ({', '.join(_COPIED_AS)}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(list(_COPIED_AS.values()))
            for row, record in enumerate(records, start=corpus.loaded):
                copy.write_row((corpus.id, row, record.custom_id, *_stored(record)))
        return _expect(connection, "id = %s", corpus.id)


def seal(database: Database, corpus: Corpus) -> Corpus:
    """Say that the source has no more rows, so that jobs over it can finish.

    Raises:
        CorpusChanged: another process loaded rows in the meantime.
    """
    with database.transaction() as connection:
        sealed = connection.execute(
            "UPDATE corpora SET sealed_at = coalesce(sealed_at, now()) WHERE id = %s AND loaded = %s",
            (corpus.id, corpus.loaded),
        )
        if sealed.rowcount == 0:
            raise CorpusChanged(f"corpus '{corpus.name}' is being loaded by another process; wait for it, or stop it")
        connection.execute("NOTIFY sciqueue")
        return _expect(connection, "id = %s", corpus.id)


def _expect(connection: Connection, condition: str, key: object) -> Corpus:
    corpus = _read(connection, condition, key)
    assert corpus is not None  # noqa: S101 - written by the same transaction
    return corpus


def _read(connection: Connection, condition: str, key: object) -> Corpus | None:
    row = connection.execute(
        "SELECT id, name, content, loaded, rejected, digest, sealed_at IS NOT NULL AS sealed "
        f"FROM corpora WHERE {condition}",
        (key,),
    ).fetchone()
    if row is None:
        return None
    return Corpus(**{**row, "content": ContentKind(row["content"]), "digest": bytes(row["digest"])})


def _stored(record: Record) -> tuple[Any, ...]:
    """The columns smiles, paper, columns, size, error_code, error of one record; every row of a load passes here."""
    content = record.content
    columns = None if record.columns is None else to_json(record.columns)
    if isinstance(content, Rejected):
        return (content.excerpt or None, None, columns, 0, content.code.value, content.message)
    if isinstance(content, Paper):
        text = to_json(content.to_json()).decode()
        return (None, Jsonb(content, dumps=lambda _: text), columns, len(text), None, None)
    return (content.smiles, None, columns, len(content.smiles), None, None)
