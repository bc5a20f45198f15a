"""Folders, formats by name, fingerprints."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from producer.readers.open import read
from producer.readers.options import ReadOptions
from producer.readers.sources import describe_source, source_fingerprint
from schemas.errors import NotFound, RowError, UsageError
from schemas.items import ContentKind, Rejected

MOLECULE, PAPER = ContentKind.MOLECULE, ContentKind.PAPER


def put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_a_folder_is_read_in_natural_order_with_its_subfolders(tmp_path: Path) -> None:
    for name in ("m10.smi", "m2.smi", "a3/x.csv", "m2/y.jsonl", "z.SMI"):
        row = {"csv": "smiles,id\nC,{}\n", "jsonl": '{{"smiles":"C","id":"{}"}}\n'}.get(
            name[-5:].split(".")[-1], "C {}\n"
        )
        put(tmp_path / name, row.format(name))
    put(tmp_path / "readme.md", "C no\n")
    put(tmp_path / ".hidden.smi", "C no\n")
    names = [record.custom_id for record in read(tmp_path, kind=MOLECULE)]
    assert names == ["a3/x.csv", "m2/y.jsonl", "m2.smi", "m10.smi", "z.SMI"]
    only = read(tmp_path, kind=MOLECULE, options=ReadOptions(format="smi"))
    assert [record.custom_id for record in only] == ["m2.smi", "m10.smi", "z.SMI"]


def test_linked_folders_are_not_followed_so_that_no_circle_arises(tmp_path: Path) -> None:
    put(tmp_path / "m.smi", "C\n")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(list(read(tmp_path, kind=MOLECULE))) == 1


def test_a_file_that_cannot_be_read_is_one_bad_paper_of_its_folder(tmp_path: Path) -> None:
    put(tmp_path / "a.txt", "Text.")
    (tmp_path / "b.xml").symlink_to(tmp_path / "c.xml")
    put(tmp_path / "b.xml.gz", "not gzip")
    put(tmp_path / "d.txt", "More.")
    records = list(read(tmp_path, kind=PAPER))
    assert [record.custom_id for record in records] == ["a.txt", "b.xml.gz", "d.txt"]
    content = records[1].content
    assert isinstance(content, Rejected)
    assert content.code is RowError.MALFORMED_XML
    assert "damaged" in content.message


@pytest.mark.skipif(os.name == "nt", reason="file names are bytes only on POSIX")
def test_a_file_name_that_is_no_utf8_is_spelt_out(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("Text.")
    assert [record.custom_id for record in read(tmp_path, kind=PAPER)] == ["\\xff.txt"]


def test_the_name_tells_the_format_and_the_option_overrules_it(tmp_path: Path) -> None:
    put(tmp_path / "m.dat", "smiles\nC\n")
    with pytest.raises(UsageError, match=r"--format.*csv"):
        list(read(tmp_path / "m.dat", kind=MOLECULE))
    assert len(list(read(tmp_path / "m.dat", kind=MOLECULE, options=ReadOptions(format=".CSV")))) == 1
    with pytest.raises(UsageError, match="no format 'xml' for molecules"):
        list(read(tmp_path / "m.dat", kind=MOLECULE, options=ReadOptions(format="xml")))


def test_a_source_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        list(read(tmp_path / "no.smi", kind=MOLECULE))
    with pytest.raises(NotFound):
        source_fingerprint(tmp_path / "no.smi")


def test_a_folder_without_a_known_file_is_a_usage_error(tmp_path: Path) -> None:
    put(tmp_path / "a.pdf", "")
    with pytest.raises(UsageError, match="no file of a known format"):
        list(read(tmp_path, kind=PAPER))


def test_a_fault_names_the_file_in_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "a.smi", "C\n")
    put(tmp_path / "sub/b.csv", "x,y\n")
    rows = read(tmp_path, kind=MOLECULE)
    assert next(rows)
    with pytest.raises(UsageError, match=r"^sub/b\.csv: .*Columns: x, y"):
        list(rows)


def test_a_fingerprint_changes_with_the_files_that_are_read_and_no_others(tmp_path: Path) -> None:
    put(tmp_path / "a.smi", "C\n")
    before, all_before = source_fingerprint(tmp_path, MOLECULE), source_fingerprint(tmp_path)
    assert before == source_fingerprint(tmp_path, MOLECULE)
    put(tmp_path / "notes.md", "x")
    assert before == source_fingerprint(tmp_path, MOLECULE)
    assert all_before != source_fingerprint(tmp_path)
    os.utime(tmp_path / "a.smi", ns=(1, 1))
    assert before != source_fingerprint(tmp_path, MOLECULE)


def test_a_file_has_one_fingerprint_by_whatever_path(tmp_path: Path) -> None:
    put(tmp_path / "a.smi", "C\n")
    (tmp_path / "b.smi").symlink_to(tmp_path / "a.smi")
    assert source_fingerprint(tmp_path / "a.smi") == source_fingerprint(str(tmp_path / "b.smi"), MOLECULE)


def test_standard_input_has_no_fingerprint() -> None:
    assert source_fingerprint("-") is None
    assert describe_source("-") == "-"
