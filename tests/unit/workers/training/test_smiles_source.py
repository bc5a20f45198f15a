"""SMILES to learn from: by name, from an installed package, or from a file."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import NotFound, UsageError
from workers.training.smiles_source import find_source


def test_moses_is_found_by_name_with_its_licence() -> None:
    source = find_source("moses:train")
    assert list(source.rows(2)) == ["CCCS(=O)c1ccc2[nH]c(=NC(=O)OC)[nH]c2c1", "CC(C)(C)C(=O)C(Oc1ccc(Cl)cc1)n1ccnc1"]
    assert "MIT" in source.licence


def test_the_package_with_the_data_is_not_imported() -> None:
    program = (
        "import sys; from workers.training.smiles_source import find_source; "
        "next(find_source('moses:test').rows()); sys.exit('moses' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.smi", "CCO ethanol\nCN\tmethylamine\n"),
        ("a.txt", "CCO\nCN"),
        ("a.csv", 'id,"Smiles"\n1,CCO\n2," CN"\n'),
        ("a.tsv", "SMILES\tid\nCCO\t1\nCN\t2\n"),
        ("a.txt", "smiles\tzinc_id\nCCO\tZINC1\nCN\tZINC2\n"),
        ("a.txt", "chembl_id\tcanonical_smiles\tstandard_inchi_key\nCHEMBL1\tCCO\tA\nCHEMBL2\tCN\tB\n"),
        ("a.csv", "canonical_smiles,smiles\nOCC,CCO\nNC,CN\n"),
    ],
)
def test_files_are_read_as_they_are_and_compressed(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    for file in (name, f"{name}.gz"):
        assert list(find_source(str(tmp_path / file)).rows()) == ["CCO", "CN"]


def test_chembls_own_file_is_known_with_its_licence(tmp_path: Path) -> None:
    for name, licence in (("chembl_36_chemreps.txt.gz", "CC BY-SA 3.0 (ChEMBL)"), ("ours.txt.gz", "")):
        (tmp_path / name).touch()
        assert find_source(str(tmp_path / name)).licence == licence
        assert find_source(str(tmp_path / name), "MIT").licence == "MIT"


def test_an_empty_line_is_a_row_so_that_it_can_be_counted(tmp_path: Path) -> None:
    (tmp_path / "a.smi").write_text("CCO\n\nCN\n")
    assert list(find_source(str(tmp_path / "a.smi")).rows()) == ["CCO", "", "CN"]


def test_what_is_neither_a_name_nor_a_file_is_refused_with_the_names() -> None:
    with pytest.raises(NotFound, match=r"no file moses:valid.*moses:train"):
        find_source("moses:valid")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.csv", b"id,structure\n1,CCO\n", "no column 'smiles', but id, structure"),
        ("a.csv", b"", "no column 'smiles', but nothing"),
        ("a.smi", b"CC\xff\n", "cannot be read"),
        ("a.smi.gz", b"CCO\n", "cannot be read"),
        ("a.smi.gz", gzip.compress(b"CCO\n" * 1000, mtime=0)[:-12], "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=why):
        list(find_source(str(tmp_path / name)).rows())
