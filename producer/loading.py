"""Loading a corpus from its records, so that it can be broken off at any instant and continued without a row doubled.

Each chunk of rows commits together with a rolling hash over all rows so far. A continued load reads its source from
the beginning, hashes what is loaded already, and goes on only if that is what was loaded then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import astuple
from hashlib import blake2b
from itertools import islice

from schemas.database import Database
from schemas.errors import CorpusChanged, ServerUnavailable
from schemas.items import Paper, Record, Rejected
from schemas.ledger import corpora
from schemas.ledger.corpora import Corpus

_CHUNK_ROWS = 10_000
_PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each repetition: a restart of PostgreSQL takes a few


class RollingHash:
    """A hash over records in their order. Equal digests mean equal rows, whatever chunks they came in."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=32)
        self._empty = True

    def add(self, record: Record) -> int:
        """Take one more record in; returns about how many bytes it holds."""
        encoded = _encoded(record)
        self._hash.update(encoded)
        self._empty = False
        return len(encoded)

    def digest(self) -> bytes:
        """The digest of the records so far; empty for none, as a new corpus has it."""
        return b"" if self._empty else self._hash.digest()


def recognize(corpus: Corpus, records: Iterator[Record]) -> RollingHash:
    """Take from a source the records that were loaded from it, and make sure that they are the same.

    Returns the hash over them, for `load` to go on with. A sealed corpus has no more rows, and neither may the source.

    Raises:
        CorpusChanged: the records are not those that were loaded.
    """
    rolling = RollingHash()
    found = 0
    for record in islice(records, corpus.loaded):
        rolling.add(record)
        found += 1
    if found < corpus.loaded:
        raise _changed(corpus, f"has only {found} rows by now")
    if rolling.digest() != corpus.digest:
        raise _changed(corpus, "no longer begins with them")
    if corpus.sealed and next(records, None) is not None:
        raise _changed(corpus, "has more rows by now")
    return rolling


def load(
    database: Database,
    corpus: Corpus,
    records: Iterator[Record],
    *,
    rolling: RollingHash | None = None,
    chunk_rows: int = _CHUNK_ROWS,
    chunk_bytes: int = 8 << 20,
    chunk_seconds: float = 1.0,
    on_chunk: Callable[[Corpus], None] | None = None,
) -> Corpus:
    """Load the records that are not in the corpus yet, and seal it.

    `records` begin with the source's first row, or go on behind those that gave `rolling` in `recognize`. A chunk is
    stored when it has `chunk_rows` rows or `chunk_bytes` bytes, or, as soon as a record arrives, when `chunk_seconds`
    have passed. Memory is bounded by a chunk. A sealed corpus is only recognized. `on_chunk` is told
    how the corpus stands after each chunk and at the end.

    Raises:
        CorpusChanged: the records do not begin with the rows that were loaded, or another process loads too.
        ServerUnavailable: PostgreSQL was away for longer than half a minute; the load can be continued.
    """
    report = on_chunk or _ignore
    rolling = rolling or recognize(corpus, records)
    if corpus.sealed:
        report(corpus)
        return corpus
    chunk: list[Record] = []
    size = 0
    began = time.monotonic()
    for record in records:
        if not chunk:
            began = time.monotonic()
        chunk.append(record)
        size += rolling.add(record)
        if len(chunk) >= chunk_rows or size >= chunk_bytes or time.monotonic() - began >= chunk_seconds:
            corpus = _append(database, corpus, chunk, rolling.digest())
            report(corpus)
            chunk, size = [], 0
    if chunk:
        corpus = _append(database, corpus, chunk, rolling.digest())
    corpus = seal(database, corpus)
    report(corpus)
    return corpus


def extend(database: Database, corpus: Corpus, records: Iterator[Record], rolling: RollingHash) -> Corpus:
    """Load records behind those that gave `rolling`, a chunk at a time, and leave the corpus open for more.

    Raises:
        CorpusChanged, ServerUnavailable: as `load`.
    """
    while chunk := list(islice(records, _CHUNK_ROWS)):
        for record in chunk:
            rolling.add(record)
        corpus = _append(database, corpus, chunk, rolling.digest())
    return corpus


def seal(database: Database, corpus: Corpus) -> Corpus:
    """Say that there will be no more rows, though PostgreSQL may be away for a while.

    Raises:
        CorpusChanged, ServerUnavailable: as `load`.
    """
    return _persist(lambda _: corpora.seal(database, corpus))


def _encoded(record: Record) -> bytes:
    """A record as bytes, differently for every two records that differ.

    Python's own literals in ASCII: quick, stable over versions, and no line end stands within one. The wording of a
    rejection is left out, since it may change while the row does not.
    """
    content = record.content
    held: object
    if isinstance(content, Rejected):
        held = (content.code.value, content.excerpt)
    elif isinstance(content, Paper):
        held = astuple(content)
    else:
        held = content.smiles
    return f"{(record.custom_id, held, record.columns)!a}\n".encode("ascii")


def _changed(corpus: Corpus, how: str) -> CorpusChanged:
    return CorpusChanged(
        f"corpus '{corpus.name}' was loaded with {corpus.loaded} rows, but its source {how}; "
        "restore the source, or choose another --name"
    )


def _append(database: Database, corpus: Corpus, chunk: list[Record], digest: bytes) -> Corpus:
    """Store a chunk, though PostgreSQL may be away for a while, and may have lost us the answer to a commit."""

    def attempt(repeated: bool) -> Corpus:
        try:
            return corpora.append(database, corpus, chunk, digest)
        except CorpusChanged:
            if not repeated:
                raise
            now = corpora.find(database, corpus.name)
            if now is None or (now.id, now.loaded, now.digest) != (corpus.id, corpus.loaded + len(chunk), digest):
                raise
            return now  # our first attempt had taken effect

    return _persist(attempt)


def _persist(attempt: Callable[[bool], Corpus]) -> Corpus:
    """Make an attempt, and again while PostgreSQL is away; the attempt is told whether it is a repetition."""
    repeated = False
    for pause in _PAUSES:
        try:
            return attempt(repeated)
        except ServerUnavailable:
            time.sleep(pause)
            repeated = True
    return attempt(repeated)


def _ignore(corpus: Corpus) -> None:
    """Nobody asked to be told."""
