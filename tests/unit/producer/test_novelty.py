"""Known molecules: read from what users have, told apart as a worker tells generated ones."""

from __future__ import annotations

import csv
import gzip
import sys
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest

from producer import novelty
from producer.novelty import known_molecules
from producer.yields import Keys, key_of
from schemas.errors import NotFound, UsageError
from workers.annotate import annotate


def keys_of(*canonical: str) -> Keys:
    return np.array([key_of(smiles) for smiles in canonical], dtype=np.uint64)


def test_molecules_are_known_whatever_way_they_are_written(tmp_path: Path) -> None:
    reference = tmp_path / "train.smi"
    reference.write_text("OCC ethanol\nC1=CC=CC=C1 benzene\nN[C@@H](C)C(=O)O\nCCO again\n")
    known = known_molecules(reference, tmp_path / "cache")
    asked = keys_of("CCO", "c1ccccc1", "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CC(N)C(=O)O", "CCC")
    assert known.holds(asked).tolist() == [True, True, True, False, False, False]
    assert (len(known.keys), known.unreadable) == (3, 0)


def test_a_workers_canonical_smiles_of_a_real_drug_is_known(tmp_path: Path) -> None:
    table = Path(str(distribution("admet-ai").locate_file("admet_ai/resources/data/drugbank_approved.csv")))
    with table.open(newline="") as file:
        drugs = [row["smiles"] for row in csv.DictReader(file)][::40]
    known = known_molecules(iter(drugs), tmp_path)
    found = [annotation.canonical for smiles in drugs if (annotation := annotate(smiles)) is not None]
    assert len(found) > 60
    assert known.holds(keys_of(*found)).all()
    assert len(known.keys) == len(set(found))


@pytest.mark.parametrize("name", ["train.csv", "train.csv.gz", "train.jsonl", "train.smi"])
def test_any_form_that_submit_reads_will_do(tmp_path: Path, name: str) -> None:
    text = {"csv": "SMILES,SPLIT\nCCO,train\n", "jsonl": '{"smiles": "CCO"}\n', "smi": "CCO\n"}[name.split(".")[1]]
    write = gzip.open if name.endswith(".gz") else open
    with write(tmp_path / name, "wt") as file:
        file.write(text)
    known = known_molecules(tmp_path / name, tmp_path / "cache")
    assert known.holds(keys_of("CCO", "CCC")).tolist() == [True, False]


def test_rows_that_are_no_molecule_are_counted_and_the_rest_is_known(tmp_path: Path) -> None:
    reference = tmp_path / "train.csv"
    reference.write_text("smiles\nC1CC\nCCO\n\nCCO ethanol\nC(C)(C)(C)(C)C\nCC\n")
    known = known_molecules(reference, tmp_path / "cache")
    assert known.holds(keys_of("CCO", "CC")).all()
    assert known.unreadable == 3


def test_a_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    reference, cache = tmp_path / "train.smi", tmp_path / "cache"
    reference.write_text("CCO\nC1CC\n")
    seen: list[int] = []
    known_molecules(reference, cache, seen.append)
    again = known_molecules(reference, cache, seen.append)
    assert seen == [2]
    assert (again.holds(keys_of("CCO")).all(), again.unreadable) == (True, 1)
    reference.write_text("CCN\nCCCC\nCCCCC\n")
    assert known_molecules(reference, cache, seen.append).holds(keys_of("CCO", "CCN")).tolist() == [False, True]
    assert seen == [2, 3]


def test_more_molecules_than_a_process_gets_at_a_time_are_all_known(tmp_path: Path) -> None:
    count = 2 * novelty._CHUNK + 7
    seen: list[int] = []
    known = known_molecules(("C" * (1 + at % 90) + "O" * (at // 90 % 90) for at in range(count)), tmp_path, seen.append)
    assert len(known.keys) > 3000
    assert seen[-1] == count
    assert known.holds(keys_of("CO", "C" * 90, "C" * 12 + "O")).all()


@pytest.mark.parametrize(
    ("given", "fault", "says"),
    [
        ("absent.smi", NotFound, "absent.smi"),
        ("-", UsageError, "not from '-'"),
        (["C1CC", ""], UsageError, "none"),
        ([], UsageError, "none"),
    ],
)
def test_what_cannot_be_a_reference_is_refused(
    tmp_path: Path, given: str | list[str], fault: type[Exception], says: str
) -> None:
    with pytest.raises(fault, match=says):
        known_molecules(given, tmp_path)


def test_a_process_that_ends_is_a_fault_that_names_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ending = tmp_path / "ending"
    ending.write_text("#!/bin/sh\nread number\nexit 3\n")
    ending.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(ending))
    with pytest.raises(UsageError, match="ended with status 3 within 1 rows from row 0 on"):
        known_molecules(["CCO"], tmp_path)
