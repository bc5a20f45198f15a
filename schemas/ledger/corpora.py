"""Loading a corpus: a chunk of rows and the place in the source they end at are committed together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from schemas.database import Connection, Database
from schemas.errors import Conflict, CorpusChanged
from schemas.items import ContentKind, Molecule, Paper, Prompt, Record, Rejected

_COLUMNS = "corpus_id, row, custom_id, smiles, paper, columns, size, error_code, error"


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
        corpus = _read(connection, "name = %s", name)
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
        with connection.cursor().copy(f"COPY items ({_COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "int8", "text", "text", "jsonb", "jsonb", "int4", "text", "text"])
            for row, record in enumerate(records, start=corpus.loaded):
                copy.write_row((corpus.id, row, record.custom_id, *_stored(record)))
        return _read(connection, "id = %s", corpus.id)


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
        return _read(connection, "id = %s", corpus.id)


def _read(connection: Connection, condition: str, key: object) -> Corpus:
    row = connection.execute(
        "SELECT id, name, content, loaded, rejected, digest, sealed_at IS NOT NULL AS sealed "
        f"FROM corpora WHERE {condition}",
        (key,),
    ).fetchone()
    assert row is not None  # noqa: S101 - written by the same transaction
    return Corpus(**{**row, "content": ContentKind(row["content"]), "digest": bytes(row["digest"])})


def _stored(record: Record) -> tuple[Any, ...]:
    """The columns smiles, paper, columns, size, error_code, error of one record."""
    columns = None if record.columns is None else Jsonb(record.columns)
    match record.content:
        case Molecule(smiles) | Prompt(smiles):
            return (smiles, None, columns, len(smiles), None, None)
        case Paper() as paper:
            stored = paper.to_json()
            text = json.dumps(stored, ensure_ascii=False)
            return (None, Jsonb(stored, dumps=lambda _: text), columns, len(text), None, None)
        case Rejected(code, message, excerpt):
            return (excerpt or None, None, columns, 0, code.value, message)
