"""Loading a corpus into real PostgreSQL: complete, in order, continued after anything, refused when it changed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from producer import loading
from producer.loading import RollingHash, load
from producer.readers.open import read
from schemas.database import Database
from schemas.errors import CorpusChanged, RowError, ServerUnavailable
from schemas.items import ContentKind, Molecule, Paper, Prompt, Record, Rejected, Section
from schemas.ledger import corpora
from schemas.ledger.corpora import Corpus

MOLECULE = ContentKind.MOLECULE

LOAD = """
import sys
from itertools import islice
from producer.loading import load
from producer.readers.open import read
from schemas.database import Database
from schemas.items import ContentKind
from schemas.ledger import corpora

def high_water():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

url, source, chunk = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Database(url) as database:
    kind = ContentKind.MOLECULE
    warm = corpora.ensure(database, "warm", kind, "-")
    load(database, warm, islice(read(source, kind=kind), 100))
    corpus = corpora.ensure(database, "c", kind, source)
    before = high_water()
    load(database, corpus, read(source, kind=kind), chunk_rows=chunk, on_chunk=lambda c: print(c.loaded, flush=True))
    print("grown", high_water() - before)
"""


def molecules(count: int, start: int = 0) -> Iterator[Record]:
    for number in range(start, start + count):
        yield Record(Molecule("C" * (number % 50 + 1)), f"m{number}", {"n": number, "half": number / 2})


def new_corpus(database: Database, name: str = "c", kind: ContentKind = MOLECULE) -> Corpus:
    return corpora.ensure(database, name, kind, "test")


def stored(database: Database, corpus: Corpus) -> list[dict[str, Any]]:
    with database.transaction() as connection:
        return connection.execute(
            "SELECT row, custom_id, smiles, paper, columns, size, error_code, error FROM items "
            "WHERE corpus_id = %s ORDER BY row",
            (corpus.id,),
        ).fetchall()


def test_every_record_is_stored_in_order_and_the_corpus_is_sealed(database: Database) -> None:
    steps: list[int] = []
    corpus = load(
        database, new_corpus(database), molecules(250), chunk_rows=100, on_chunk=lambda now: steps.append(now.loaded)
    )
    assert (corpus.loaded, corpus.rejected, corpus.sealed) == (250, 0, True)
    assert steps == [100, 200, 250]
    rows = stored(database, corpus)
    assert [row["row"] for row in rows] == list(range(250))
    expected = [(r.custom_id, r.content.smiles, r.columns) for r in molecules(250)]  # type: ignore[union-attr]
    assert [(row["custom_id"], row["smiles"], row["columns"]) for row in rows] == expected


def test_rows_of_every_kind_come_back_as_they_were(database: Database) -> None:
    awkward = 'a\tb\\n\n"\u2028é\\'
    paper = Paper("Títle", (Section("S\\t1", ("one\ttwo", "π ≈ 3")),), "abstract", {"doi": "10.1/x"})
    records = [
        Record(paper, awkward, {"zz": awkward, "a": None, "m": [1, {"b": True}]}),
        Record(Rejected(RowError.MALFORMED_JSON, awkward, awkward), None, None),
        Record(Rejected(RowError.EMPTY_TEXT, "empty")),
    ]
    corpus = load(database, new_corpus(database, kind=ContentKind.PAPER), iter(records))
    first, second, third = stored(database, corpus)
    assert Paper.from_json(first["paper"]) == paper
    assert (first["custom_id"], first["columns"]) == (awkward, records[0].columns)
    assert list(first["columns"]) == ["zz", "a", "m"]
    assert first["size"] > len("one\ttwo")
    assert (second["error_code"], second["error"], second["smiles"], second["columns"]) == (
        "malformed_json",
        awkward,
        awkward,
        None,
    )
    assert (third["smiles"], third["size"]) == (None, 0)
    assert corpus.rejected == 2


def test_an_empty_prompt_is_stored_as_empty_text(database: Database) -> None:
    corpus = load(database, new_corpus(database, kind=ContentKind.PROMPT), iter([Record(Prompt())]))
    assert [row["smiles"] for row in stored(database, corpus)] == [""]


def test_an_interrupted_load_continues_without_doubling(database: Database) -> None:
    def broken() -> Iterator[Record]:
        yield from molecules(230)
        raise KeyboardInterrupt

    corpus = new_corpus(database)
    with pytest.raises(KeyboardInterrupt):
        load(database, corpus, broken(), chunk_rows=100)
    half = new_corpus(database)
    assert (half.loaded, half.sealed) == (200, False)
    whole = load(database, half, molecules(300), chunk_rows=77)
    assert [row["custom_id"] for row in stored(database, whole)] == [f"m{number}" for number in range(300)]
    assert whole.digest == load(database, new_corpus(database, "other"), molecules(300)).digest


@pytest.mark.timeout(60)
def test_a_load_that_is_killed_twice_ends_with_the_source_exactly(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    source = tmp_path / "m.smi"
    smiles = [f"{'C' * (number % 40 + 1)} m{number}" for number in range(20_000)]
    source.write_text("\n".join(smiles) + "\n")
    for chunks in (1, 6):
        with _loading(database_url, source, chunk=200) as process:
            assert process.stdout is not None
            lines = list(islice(process.stdout, chunks))
            assert len(lines) == chunks
            process.send_signal(signal.SIGKILL)
            process.wait()
        corpus = new_corpus(database)
        assert int(lines[-1]) <= corpus.loaded < len(smiles)
        assert not corpus.sealed
    corpus = load(database, new_corpus(database), read(source, kind=MOLECULE))
    assert corpus.sealed
    assert [f"{row['smiles']} {row['custom_id']}" for row in stored(database, corpus)] == smiles


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the high-water mark is read from /proc")
def test_memory_stays_flat_over_two_hundred_thousand_rows(database_url: str, tmp_path: Path) -> None:
    source = tmp_path / "m.smi"
    source.write_text("".join(f"{'C' * (number % 60 + 1)} molecule-{number}\n" for number in range(200_000)))
    with _loading(database_url, source, chunk=10_000) as process:
        out, _ = process.communicate(timeout=60)
    *_, loaded, grown = out.splitlines()
    assert loaded == "200000"
    assert int(grown.split()[1]) < 30 * 1024  # KiB


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (lambda: molecules(200, start=1), "no longer begins with them"),
        (lambda: molecules(99), "has only 99 rows"),
        (lambda: (Record(r.content, r.custom_id, {"n": 1}) for r in molecules(200)), "no longer begins with them"),
    ],
)
def test_a_changed_source_is_refused(database: Database, source: Any, says: str) -> None:
    corpus = new_corpus(database)
    rolling = RollingHash()
    chunk = list(molecules(100))
    for record in chunk:
        rolling.add(record)
    corpus = corpora.append(database, corpus, chunk, rolling.digest())
    with pytest.raises(CorpusChanged, match=f"'c' was loaded with 100 rows.*{says}"):
        load(database, corpus, source())
    assert new_corpus(database) == corpus


def test_a_sealed_corpus_is_verified_to_its_end(database: Database) -> None:
    corpus = load(database, new_corpus(database), molecules(50))
    assert load(database, corpus, molecules(50)) == corpus
    with pytest.raises(CorpusChanged, match="more rows"):
        load(database, corpus, molecules(51))
    with pytest.raises(CorpusChanged, match="only 49"):
        load(database, corpus, molecules(49))
    assert len(stored(database, corpus)) == 50


def test_an_empty_source_gives_a_sealed_corpus_without_rows(database: Database) -> None:
    corpus = load(database, new_corpus(database), iter([]))
    assert (corpus.loaded, corpus.digest, corpus.sealed) == (0, b"", True)
    assert load(database, corpus, iter([])) == corpus


def test_chunks_are_bounded_by_bytes_and_by_time(database: Database) -> None:
    steps: list[int] = []
    long = (Record(Molecule("C" * 1000)) for _ in range(10))
    load(database, new_corpus(database, "a"), long, chunk_bytes=2500, on_chunk=lambda now: steps.append(now.loaded))
    assert steps == [3, 6, 9, 10]

    def slow() -> Iterator[Record]:
        for record in molecules(3):
            yield record
            time.sleep(0.06)

    steps.clear()
    load(database, new_corpus(database, "b"), slow(), chunk_seconds=0.05, on_chunk=lambda now: steps.append(now.loaded))
    assert steps == [2, 3]


@pytest.mark.parametrize("took_effect", [True, False])
def test_an_append_whose_answer_was_lost_is_neither_doubled_nor_missing(
    database: Database, monkeypatch: pytest.MonkeyPatch, took_effect: bool
) -> None:
    monkeypatch.setattr(loading, "_PAUSES", (0.0, 0.0))
    real, calls = corpora.append, []

    def flaky(*given: Any) -> Corpus:
        calls.append(given)
        if len(calls) == 2:
            if took_effect:
                real(*given)
            raise ServerUnavailable("the answer was lost")
        return real(*given)

    monkeypatch.setattr(corpora, "append", flaky)
    corpus = load(database, new_corpus(database), molecules(250), chunk_rows=100)
    assert [row["custom_id"] for row in stored(database, corpus)] == [f"m{number}" for number in range(250)]


def test_a_server_that_stays_away_is_reported_after_a_bounded_number_of_attempts(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_PAUSES", (0.0, 0.0))
    calls = []

    def away(*given: Any) -> Corpus:
        calls.append(given)
        raise ServerUnavailable("away")

    monkeypatch.setattr(corpora, "append", away)
    with pytest.raises(ServerUnavailable):
        load(database, new_corpus(database), molecules(5))
    assert len(calls) == 3


def test_another_loader_of_other_rows_is_not_mistaken_for_a_lost_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_PAUSES", (0.0,))
    real, calls = corpora.append, []

    def overtaken(database: Database, corpus: Corpus, chunk: list[Record], digest: bytes) -> Corpus:
        calls.append(chunk)
        if len(calls) == 1:
            real(database, corpus, list(molecules(5, start=7)), b"another")
            raise ServerUnavailable("away")
        return real(database, corpus, chunk, digest)

    monkeypatch.setattr(corpora, "append", overtaken)
    with pytest.raises(CorpusChanged, match="another process"):
        load(database, new_corpus(database), molecules(5))
    assert len(stored(database, new_corpus(database))) == 5


def test_records_that_differ_anywhere_have_different_digests() -> None:
    base = Record(Molecule("CC"), "a", {"x": 1, "y": "b"})
    others = [
        Record(Molecule("CCC"), "a", {"x": 1, "y": "b"}),
        Record(Prompt("CC"), "b", {"x": 1, "y": "b"}),
        Record(Molecule("CC"), None, {"x": 1, "y": "b"}),
        Record(Molecule("CC"), "a", {"x": "1", "y": "b"}),
        Record(Molecule("CC"), "a', {'x': 1", {"y": "b"}),
        Record(Molecule("CC"), "a", None),
        Record(Rejected(RowError.EMPTY_SMILES, "empty", "CC"), "a", {"x": 1, "y": "b"}),
    ]
    assert len({_digest(record) for record in (base, *others)}) == len(others) + 1
    assert _digest(Record(Molecule("C"), "a\n"), Record(Molecule("C"))) != _digest(Record(Molecule("C"), "a"))


def test_the_wording_of_a_rejection_does_not_change_a_source() -> None:
    first = Record(Rejected(RowError.EMPTY_SMILES, "the SMILES is empty", " "))
    assert _digest(first) == _digest(Record(Rejected(RowError.EMPTY_SMILES, "no SMILES here", " ")))


def _digest(*records: Record) -> bytes:
    rolling = RollingHash()
    for record in records:
        rolling.add(record)
    return rolling.digest()


def _loading(url: str, source: Path, chunk: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LOAD, url, str(source), str(chunk)], stdout=subprocess.PIPE, text=True
    )
