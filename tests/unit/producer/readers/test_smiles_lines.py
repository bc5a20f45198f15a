"""SMILES files: names, headers, blank lines, and every kind of bad line."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from producer.readers.open import read
from producer.readers.options import ReadOptions
from schemas.errors import RowError, UsageError
from schemas.items import ContentKind, Molecule, Prompt, Record, Rejected

MOLECULE = ContentKind.MOLECULE


def read_bytes(tmp_path: Path, content: bytes, options: ReadOptions | None = None) -> list[Record]:
    file = tmp_path / "m.smi"
    file.write_bytes(content)
    return list(read(file, kind=MOLECULE, options=options))


def codes(records: list[Record]) -> list[RowError | None]:
    return [r.content.code if isinstance(r.content, Rejected) else None for r in records]


def test_the_text_after_white_space_is_the_name(tmp_path: Path) -> None:
    records = read_bytes(tmp_path, b"CCO\tethyl alcohol \nCC methane?\nC\n")
    assert records == [
        Record(Molecule("CCO"), "ethyl alcohol"),
        Record(Molecule("CC"), "methane?"),
        Record(Molecule("C")),
    ]


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_line_ends_byte_order_mark_header_and_blank_lines_are_no_rows(tmp_path: Path, ends: bytes) -> None:
    content = ends.join([b"\xef\xbb\xbfSMILES name", b"", b"CCO a", b"   ", b"CC", b""])
    assert read_bytes(tmp_path, content) == [Record(Molecule("CCO"), "a"), Record(Molecule("CC"))]


def test_only_the_first_line_can_be_a_header(tmp_path: Path) -> None:
    assert len(read_bytes(tmp_path, b"CCO\nsmiles\n")) == 2


def test_a_bad_line_is_rejected_and_the_rest_is_read(tmp_path: Path) -> None:
    content = b"CCO\nC\0C\nC\xff\nC\rCC\nCC |$R1$| x\nC " + b"n" * 600 + b"\nCC caf\xc3\xa9"
    records = read_bytes(tmp_path, content)
    assert codes(records) == [
        None,
        RowError.NUL_BYTE,
        RowError.INVALID_UTF8,
        RowError.TRAILING_TEXT,
        RowError.TRAILING_TEXT,
        RowError.OVERSIZED,
        None,
    ]
    assert records[-1] == Record(Molecule("CC"), "café")


def test_an_excerpt_can_be_stored(tmp_path: Path) -> None:
    records = read_bytes(tmp_path, b"C\0C\xff" + b"C" * 500)
    content = records[0].content
    assert isinstance(content, Rejected)
    assert len(content.excerpt) == 200
    assert "\0" not in content.excerpt
    content.excerpt.encode("utf-8")


@pytest.mark.parametrize("length", [9, 10, 11, 12, 13, 100])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_line_longer_than_the_limit_is_one_rejected_row(tmp_path: Path, length: int, mark: bytes) -> None:
    records = read_bytes(tmp_path, mark + b"C" * length + b"\nCCO\n", ReadOptions(max_row_bytes=10))
    whole = len(mark) + length
    assert codes(records) == [RowError.OVERSIZED if whole > 10 else None, None]


def test_a_smiles_beyond_64_thousand_characters_is_oversized(tmp_path: Path) -> None:
    assert codes(read_bytes(tmp_path, b"C" * 70_000 + b"\nC" + b"C" * 60_000)) == [RowError.OVERSIZED, None]


def test_utf_16_is_refused_as_a_whole(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="UTF-16"):
        read_bytes(tmp_path, "CCO\n".encode("utf-16"))


def test_lines_are_prompts_where_prompts_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("c1ccccc1\n")
    assert list(read(tmp_path / "p.txt", kind=ContentKind.PROMPT)) == [Record(Prompt("c1ccccc1"))]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    rows = 60_000
    (tmp_path / "m.smi").write_text("".join(f"CCO mol-{row}\n" for row in range(rows)))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read(tmp_path / "m.smi", kind=MOLECULE)) == rows
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 << 20


def test_an_endless_line_is_not_held_in_memory(tmp_path: Path) -> None:
    (tmp_path / "m.smi").write_bytes(b"C" * (32 << 20) + b"\nCCO\n")
    tracemalloc.start()
    try:
        records = list(read(tmp_path / "m.smi", kind=MOLECULE))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert codes(records) == [RowError.OVERSIZED, None]
    assert peak < 6 << 20
