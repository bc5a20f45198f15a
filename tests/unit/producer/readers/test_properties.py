"""What must hold for any bytes whatever, and for real tables."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from producer.readers.open import read
from producer.readers.options import ReadOptions
from schemas.errors import UsageError
from schemas.items import ContentKind, Molecule, Record, Rejected

ANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PIECES = [
    b"\n",
    b"\r\n",
    b"\r",
    b'"',
    b",",
    b"\t",
    b" ",
    b"CCO",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xc3\xa9",
    b"smiles",
]
PIECES += [
    b'{"smiles":"C"}',
    b'"text":',
    b"{",
    b"}",
    b"[",
    b"\\ud800",
    b"\\u0000",
    b"1e999",
    b"|",
    b"\x1c",
    b"\xe2\x80\xa8",
]
noise = st.lists(st.sampled_from(PIECES) | st.binary(max_size=8), max_size=30).map(b"".join)


def rows_of(content: bytes, ending: str, kind: ContentKind = ContentKind.MOLECULE) -> list[Record]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"x.{ending}"
        file.write_bytes(content)
        return list(read(file, kind=kind, options=ReadOptions(max_row_bytes=64)))


def assert_storable(records: list[Record]) -> None:
    for record in records:
        content = record.content
        texts = [record.custom_id or "", json.dumps(record.columns, ensure_ascii=False, allow_nan=False)]
        texts += [content.smiles] if isinstance(content, Molecule) else []
        texts += [content.message, content.excerpt] if isinstance(content, Rejected) else []
        for text in texts:
            text.encode("utf-8")
            assert "\0" not in text


@ANY
@given(noise)
@example(b"\xef\xbb\xbf")
def test_each_line_of_any_bytes_is_one_row_of_a_smiles_or_jsonl_file(content: bytes) -> None:
    body = content.removeprefix(b"\xef\xbb\xbf")
    lines = [line.decode("utf-8", "surrogateescape") for line in body.split(b"\n")]
    full = [line for line in lines if line.strip()]
    overlong_blank = any(len(line) > 60 and not line.strip() for line in lines)
    if overlong_blank or content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return
    header = 1 if full and full[0].split()[0].lower() == "smiles" else 0
    records = rows_of(content, "smi")
    assert len(records) == len(full) - header
    assert_storable(records)
    records = rows_of(content, "jsonl")
    assert len(records) == len(full)
    assert_storable(records)


@ANY
@given(noise, st.sampled_from(["csv", "tsv"]))
def test_any_bytes_after_a_header_are_rows_of_a_table_and_a_sound_row_after_them_is_found(
    content: bytes, ending: str
) -> None:
    mark = b"," if ending == "csv" else b"\t"
    last = mark.join((b"CCCCC", b"last"))
    padding = b"\n" + b"\n".join([mark.join((b"N", b"0"))] * 40) + b"\n"  # past the reach of an open quote
    records = rows_of(mark.join((b"smiles", b"id")) + b"\n" + content + padding + last, ending)
    assert records[-1] == Record(Molecule("CCCCC"), "last", {"id": "last"})
    assert_storable(records)


@ANY
@given(noise, st.sampled_from(["smi.gz", "csv.zst", "csv", "tsv", "jsonl", "txt"]))
def test_any_file_gives_rows_or_a_usage_error(content: bytes, ending: str) -> None:
    try:
        records = rows_of(content, ending)
    except UsageError:
        return
    assert_storable(records)


@ANY
@given(noise, st.sampled_from(["xml", "txt", "jsonl", "tar", "tgz"]))
def test_any_file_gives_papers_or_a_usage_error(content: bytes, ending: str) -> None:
    try:
        records = rows_of(content, ending, ContentKind.PAPER)
    except UsageError:
        assert ending in ("tar", "tgz", "jsonl")
        return
    assert_storable(records)


field = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)


@ANY
@given(st.lists(st.tuples(field, field), max_size=10))
def test_what_the_csv_module_writes_is_read_back(rows: list[tuple[str, str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(["a", "smiles", "b"])
    writer.writerows((a, "CCO", b) for a, b in rows)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.csv"
        file.write_bytes(text.getvalue().encode())
        records = list(read(file, kind=ContentKind.MOLECULE))
    assert records == [Record(Molecule("CCO"), None, {"a": a, "b": b}) for a, b in rows]


@pytest.mark.data
def test_real_tables_are_read_whole_and_left_to_chemistry(data_dir: Path) -> None:
    tox21, delaney = data_dir / "molecules/tox21.csv.gz", data_dir / "molecules/delaney-processed.csv"
    records = list(read(tox21, kind=ContentKind.MOLECULE))
    assert len(records) == 8014
    assert not any(isinstance(record.content, Rejected) for record in records)
    with gzip.open(tox21, "rt") as table:
        for record, row in zip(records, csv.DictReader(table), strict=True):
            assert record == Record(Molecule(row.pop("smiles")), row["mol_id"], row)
    records = list(read(delaney, kind=ContentKind.MOLECULE))
    assert len(records) == 1128
    assert records[0].custom_id == "Amigdalin"
    assert isinstance(records[0].content, Molecule)
    assert not records[0].content.smiles.endswith(" ")
    assert all(isinstance(record.content, Molecule) for record in records)
