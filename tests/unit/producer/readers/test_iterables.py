"""Python objects as rows."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from producer.readers.iterables import records_from
from schemas.errors import RowError, UsageError
from schemas.items import ContentKind, Molecule, Paper, Prompt, Record, Rejected, Section

MOLECULE, PAPER, PROMPT = ContentKind.MOLECULE, ContentKind.PAPER, ContentKind.PROMPT
TEXT = Paper("", (Section("", ("One two.", "Three.")),))


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (MOLECULE, " CCO ", Record(Molecule("CCO"))),
        (MOLECULE, ("a", "CCO"), Record(Molecule("CCO"), "a")),
        (MOLECULE, (7, "CCO"), Record(Molecule("CCO"), "7")),
        (MOLECULE, ("a", {"smiles": "CCO", "y": 1}), Record(Molecule("CCO"), "a", {"y": 1})),
        (MOLECULE, Molecule("CCO"), Record(Molecule("CCO"))),
        (MOLECULE, Record(Molecule("CCO"), "a", {"y": [1]}), Record(Molecule("CCO"), "a", {"y": [1]})),
        (MOLECULE, {"smiles": "CCO", "id": np.int64(3)}, Record(Molecule("CCO"), "3")),
        (PROMPT, "", Record(Prompt())),
        (PROMPT, Prompt(), Record(Prompt())),
        (PROMPT, "c1ccccc1", Record(Prompt("c1ccccc1"))),
        (PAPER, "One\ntwo.\n\nThree.", Record(TEXT)),
        (PAPER, ("p", TEXT), Record(TEXT, "p")),
        (PAPER, {"text": "One two.\n\nThree."}, Record(TEXT)),
    ],
)
def test_each_form_becomes_a_record(kind: ContentKind, given: Any, expected: Record) -> None:
    assert list(records_from([given], kind)) == [expected]


@pytest.mark.parametrize(
    ("kind", "given", "code"),
    [
        (MOLECULE, None, RowError.UNSUPPORTED),
        (MOLECULE, float("nan"), RowError.UNSUPPORTED),
        (MOLECULE, Prompt("C"), RowError.UNSUPPORTED),
        (MOLECULE, TEXT, RowError.UNSUPPORTED),
        (MOLECULE, Record(TEXT), RowError.UNSUPPORTED),
        (MOLECULE, ("a", "b", "c"), RowError.UNSUPPORTED),
        (MOLECULE, b"CCO", RowError.UNSUPPORTED),
        (MOLECULE, "", RowError.EMPTY_SMILES),
        (MOLECULE, "CCO ethanol", RowError.TRAILING_TEXT),
        (MOLECULE, "C\0", RowError.NUL_BYTE),
        (MOLECULE, "C\ud800", RowError.INVALID_UTF8),
        (MOLECULE, ("\0", "C"), RowError.NUL_BYTE),
        (MOLECULE, Record(Molecule("C"), None, {"x": float("inf")}), RowError.MALFORMED_JSON),
        (PAPER, " \n ", RowError.EMPTY_TEXT),
        (PAPER, Paper("T", ()), RowError.EMPTY_TEXT),
        (PAPER, Paper("T", (Section("", ("\ud800",)),)), RowError.INVALID_UTF8),
    ],
)
def test_a_bad_object_is_rejected_and_the_next_is_taken(kind: ContentKind, given: Any, code: RowError) -> None:
    bad, good = records_from([given, "C"], kind)
    assert isinstance(bad.content, Rejected)
    assert bad.content.code is code
    assert not isinstance(good.content, Rejected)


def test_values_that_json_lacks_are_kept_as_text_and_missing_ones_as_none() -> None:
    row = {"smiles": "C", "f": np.float32(0.5), "n": float("nan"), "s": {1}, "t": (1, None), 5: "k"}
    (record,) = records_from([row], MOLECULE)
    assert record.columns == {"f": 0.5, "n": None, "s": "{1}", "t": [1, None], "5": "k"}


def test_a_value_that_holds_itself_is_rejected() -> None:
    row: dict[str, Any] = {"smiles": "C"}
    row["self"] = row
    (record,) = records_from([row], MOLECULE)
    assert isinstance(record.content, Rejected)


def test_a_rejected_record_stays_rejected() -> None:
    given = Record(Rejected(RowError.MISSING_FIELD, "why"), "a")
    assert list(records_from([given], MOLECULE)) == [given]


def test_an_endless_generator_is_read_lazily() -> None:
    rows = records_from(itertools.repeat("C"), MOLECULE)
    assert len(list(itertools.islice(rows, 10))) == 10


@pytest.mark.parametrize("given", ["CCO", b"CCO", {"smiles": "CCO"}])
def test_a_single_row_in_place_of_rows_is_a_usage_error(given: Any) -> None:
    with pytest.raises(UsageError, match="put it in a list"):
        list(records_from(given, MOLECULE))
