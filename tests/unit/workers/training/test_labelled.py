"""Labelled molecules from a table: tasks, kinds, what is left out, and the split that evaluation makes too."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from producer.evaluation.properties import labelled, split_by_scaffold
from schemas.errors import UsageError
from schemas.registry import Endpoint
from workers.molecules import Refused, read
from workers.training.labelled import read_labelled, split

TABLE = "id,Smiles,toxic,active\na,CCO,0,1\nb,[Na+].CC(=O)[O-],1,\nc,C1CC,1,0\nd,CCN,,\ne,[Na+].[Cl-],0,0\n"


def table(folder: Path, text: str, name: str = "some.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_columns_of_numbers_are_tasks_and_empty_cells_are_missing_labels(tmp_path: Path) -> None:
    known = read_labelled(table(tmp_path, TABLE), "smiles", ())
    assert (known.tasks, known.kind, known.other_columns) == (("toxic", "active"), "probability", ("id",))
    assert known.smiles == ["CCO", "CC(=O)O", ""]  # as workers standardize them
    assert known.refused == ["", "", "standardization_failed"]
    assert known.left_out == {"no molecule": 1, "without a label": 1}
    assert np.array_equal(known.labels, [[0, 1], [1, np.nan], [0, 0]], equal_nan=True)


def test_other_numbers_than_0_and_1_are_values(tmp_path: Path) -> None:
    assert read_labelled(table(tmp_path, "smiles,logS\nCCO,0.5\nCCN,1\n"), "smiles", ()).kind == "regression"


@pytest.mark.parametrize(
    ("text", "tasks", "why"),
    [
        ("smiles,a,b\nCCO,1,0.5\nCCN,0,2\n", (), r"beside others \(b\).*--task"),
        ("smiles,a\nCCO,yes\n", ("a",), "'a' holds what is no number.*yes"),
        ("smiles,a\nCCO,yes\n", (), "no column of labels; it has: smiles, a"),
        ("smiles,a\nCCO,1\n", ("b",), "no column 'b'; it has: smiles, a"),
        ("structure,a\nCCO,1\n", (), "no column 'smiles'; it has: structure, a"),
        ("smiles,a,a\nCCO,1,1\n", (), "two columns have one name"),
    ],
)
def test_a_table_that_says_too_little_is_refused_in_one_line(
    tmp_path: Path, text: str, tasks: tuple[str, ...], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        read_labelled(table(tmp_path, text), "smiles", tasks)


def test_training_is_tested_on_the_molecules_that_evaluation_tests_on(tmp_path: Path) -> None:
    rings = ["c1ccccc1", "c1ccncc1", "C1CCCCC1", "c1ccoc1", "C1CCNC1", "c1ccc2ccccc2c1", "c1ccsc1", "C1CCOC1"]
    smiles = [one + chain + other for one in rings for chain in ("CC", "C(=O)N", "") for other in (*rings[:5], "")]
    smiles += ["[Na+].[Cl-]", "C[N+](C)(C)C.[Br-]", "Cl.NCc1ccccc1"]
    file = table(tmp_path, "smiles,toxic\n" + "".join(f"{one},{at % 2}\n" for at, one in enumerate(smiles)))
    known = read_labelled(file, "smiles", ())
    found = split(known, known.refused)
    endpoint = Endpoint(name="toxic", kind="probability")
    structures = [read(one) for one in smiles]
    rows = [
        {
            "given_columns": {"toxic": str(at % 2)},
            "given_smiles": one,
            "standardized": None if isinstance(structure, Refused) else structure.smiles,
            "error_code": structure.code if isinstance(structure, Refused) else None,
            "values": [0.5],
        }
        for at, (one, structure) in enumerate(zip(smiles, structures, strict=True))
    ]
    train, test = split_by_scaffold(labelled(rows, [endpoint], {endpoint: "toxic"}, Counter()))
    assert [found.names[at] for at in found.parts["test"]] == test.smiles
    assert [found.names[at] for at in found.parts["train"]] == train.smiles
    usable = [known.smiles[at] for part in found.usable.values() for at in part]
    assert sorted(usable) == sorted(one for one in known.smiles if one)


def test_too_few_molecules_for_three_parts_are_refused(tmp_path: Path) -> None:
    known = read_labelled(table(tmp_path, "smiles,a\nCCO,1\nCCN,0\n"), "smiles", ())
    with pytest.raises(UsageError, match="2 labelled molecules leave none for train and validation"):
        split(known, known.refused)
