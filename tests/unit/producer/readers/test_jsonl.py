"""JSON lines: molecules, prompts and papers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from producer.readers.open import read
from producer.readers.options import ReadOptions
from schemas.errors import RowError
from schemas.items import ContentKind, Molecule, Paper, Prompt, Record, Rejected, Section


def read_lines(tmp_path: Path, *lines: str | bytes, kind: ContentKind = ContentKind.MOLECULE, **o: Any) -> list[Record]:
    file = tmp_path / "x.jsonl"
    file.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return list(read(file, kind=kind, options=ReadOptions(**o)))


def code(record: Record) -> RowError | None:
    return record.content.code if isinstance(record.content, Rejected) else None


def test_other_keys_are_columns_of_their_own_type(tmp_path: Path) -> None:
    line = '{"smiles": "CCO", "custom_id": "a", "y": 1.5, "tags": ["x", {"k": null}]}'
    assert read_lines(tmp_path, line) == [Record(Molecule("CCO"), "a", {"y": 1.5, "tags": ["x", {"k": None}]})]


def test_ids_may_be_numbers_and_keys_may_be_named(tmp_path: Path) -> None:
    line = '{"SMILES": "C", "drug": "CCO", "id": 7, "key": "k"}'
    assert read_lines(tmp_path, line)[0].custom_id == "7"
    named = read_lines(tmp_path, line, smiles_column="drug", id_column="key")
    assert named == [Record(Molecule("CCO"), "k", {"SMILES": "C", "id": 7})]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"smiles": "CCO"', RowError.MALFORMED_JSON),
        ('["CCO"]', RowError.MALFORMED_JSON),
        ('{"smiles": 5}', RowError.MALFORMED_JSON),
        ('{"smiles": "C", "x": NaN}', RowError.MALFORMED_JSON),
        ('{"smiles": "C", "x": 1e999}', RowError.MALFORMED_JSON),
        ('{"smiles": "C", "id": [1]}', RowError.MALFORMED_JSON),
        ('{"smiles": "C", "x": ' + "9" * 5000 + "}", RowError.MALFORMED_JSON),
        ('{"smiles": "C", "x": ' + "[" * 80 + "]" * 80 + "}", RowError.MALFORMED_JSON),
        ("[" * 100_000, RowError.MALFORMED_JSON),
        ('{"x": 1}', RowError.MISSING_FIELD),
        ('{"smiles": null}', RowError.MISSING_FIELD),
        ('{"smiles": " "}', RowError.EMPTY_SMILES),
        ('{"smiles": "CCO ethanol"}', RowError.TRAILING_TEXT),
        ('{"smiles": "C\\u0000"}', RowError.NUL_BYTE),
        ('{"smiles": "C\\ud800"}', RowError.INVALID_UTF8),
        ('{"smiles": "C", "custom_id": "\\ud800"}', RowError.INVALID_UTF8),
        ('{"smiles": "C", "x": {"a": ["\\u0000"]}}', RowError.NUL_BYTE),
        ('{"smiles": "C", "a\\udfff": 1}', RowError.INVALID_UTF8),
        (b'{"smiles": "C\xff"}', RowError.INVALID_UTF8),
        (b'{"smiles": "C\0"}', RowError.NUL_BYTE),
    ],
)
def test_a_bad_line_is_rejected_and_the_next_is_read(tmp_path: Path, line: str | bytes, expected: RowError) -> None:
    bad, good = read_lines(tmp_path, line, "", '{"smiles": "CCO"}')
    assert code(bad) is expected
    assert good == Record(Molecule("CCO"))
    assert isinstance(bad.content, Rejected)
    for text in (bad.content.message, bad.content.excerpt, json.dumps(bad.columns, ensure_ascii=False)):
        assert "\0" not in text
        text.encode("utf-8")


def test_a_surrogate_pair_is_a_character(tmp_path: Path) -> None:
    assert read_lines(tmp_path, '{"smiles": "C", "id": "\\ud83d\\ude00"}') == [Record(Molecule("C"), "😀")]


def test_prompts_come_under_either_name(tmp_path: Path) -> None:
    records = read_lines(tmp_path, '{"prompt": "c1ccccc1"}', '{"smiles": "CC"}', kind=ContentKind.PROMPT)
    assert records == [Record(Prompt("c1ccccc1")), Record(Prompt("CC"))]


def test_a_paper_with_sections_identifiers_and_columns(tmp_path: Path) -> None:
    paper = {
        "id": "p1",
        "title": "A  title",
        "abstract": "Short.",
        "sections": [
            {"title": "Intro", "text": "One\nline.\n\nTwo."},
            {"heading": "Methods", "paragraphs": ["Three.", " "]},
            "Four.",
            {"title": "Empty"},
        ],
        "doi": "10.1/x",
        "pmid": 7,
        "year": 2020,
        "license": "CC BY",
        "venue": "X",
    }
    (record,) = read_lines(tmp_path, json.dumps(paper), kind=ContentKind.PAPER)
    assert record == Record(
        Paper(
            "A title",
            (Section("Intro", ("One line.", "Two.")), Section("Methods", ("Three.",)), Section("", ("Four.",))),
            "Short.",
            {"doi": "10.1/x", "pmid": "7", "licence": "CC BY", "year": "2020"},
        ),
        "p1",
        {"venue": "X"},
    )


def test_a_paper_of_an_abstract_alone_has_it_as_its_section(tmp_path: Path) -> None:
    (record,) = read_lines(tmp_path, '{"title": "T", "abstract": "A.\\n\\nB."}', kind=ContentKind.PAPER)
    assert record.content == Paper("T", (Section("Abstract", ("A.", "B.")),), "A.\nB.")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"title": "only"}', RowError.EMPTY_TEXT),
        ('{"title": "T", "text": " \\n\\n ", "sections": [{"text": ""}]}', RowError.EMPTY_TEXT),
        ('{"text": 5}', RowError.MALFORMED_JSON),
        ('{"sections": "x"}', RowError.MALFORMED_JSON),
        ('{"sections": [5]}', RowError.MALFORMED_JSON),
        ('{"sections": [{"paragraphs": [5]}]}', RowError.MALFORMED_JSON),
        ('{"text": "a\\u0000b"}', RowError.NUL_BYTE),
        ('{"text": "a", "title": "\\ud800"}', RowError.INVALID_UTF8),
        ('{"text": "a", "doi": "\\u0000"}', RowError.NUL_BYTE),
        ('{"text": "' + "a " * 600 + '"}', RowError.OVERSIZED),
    ],
)
def test_a_bad_paper_is_rejected(tmp_path: Path, line: str, expected: RowError) -> None:
    (record,) = read_lines(tmp_path, line, kind=ContentKind.PAPER, max_row_bytes=1000)
    assert code(record) is expected
