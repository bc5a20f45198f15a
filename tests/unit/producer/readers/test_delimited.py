"""Tables: columns, ids, quotes, and recovery from broken rows."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from producer.readers.open import read
from producer.readers.options import ReadOptions
from schemas.errors import UsageError
from schemas.items import ContentKind, Molecule, Prompt, Record, Rejected

MOLECULE = ContentKind.MOLECULE
GOOD = "good"


def read_table(tmp_path: Path, content: str | bytes, name: str = "t.csv", **options: object) -> list[Record]:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read(file, kind=MOLECULE, options=ReadOptions(**options)))  # type: ignore[arg-type]


def outcomes(records: list[Record]) -> list[str]:
    return [r.content.code.value if isinstance(r.content, Rejected) else GOOD for r in records]


def test_other_columns_are_kept_as_text_and_missing_values_are_empty(tmp_path: Path) -> None:
    records = read_table(tmp_path, "y,Compound ID,smiles\n1.50,a,CCO\n,b,CC\n")
    assert records == [
        Record(Molecule("CCO"), "a", {"y": "1.50", "Compound ID": "a"}),
        Record(Molecule("CC"), "b", {"y": "", "Compound ID": "b"}),
    ]


@pytest.mark.parametrize("header", ["SMILES", "Canonical_SMILES", " smiles ", "canonical smiles"])
def test_the_smiles_column_is_found_however_it_is_spelt(tmp_path: Path, header: str) -> None:
    assert read_table(tmp_path, f"{header}\nCCO\n") == [Record(Molecule("CCO"))]


def test_named_columns_win_over_the_usual_ones(tmp_path: Path) -> None:
    records = read_table(tmp_path, "id,smiles,key,drug\n1,CC,k,CCO\n", smiles_column="drug", id_column="key")
    assert records == [Record(Molecule("CCO"), "k", {"id": "1", "smiles": "CC", "key": "k"})]


def test_a_column_named_custom_id_is_not_given_back_twice(tmp_path: Path) -> None:
    records = read_table(tmp_path, "custom_id,smiles\na,CCO\n")
    assert records == [Record(Molecule("CCO"), "a")]


@pytest.mark.parametrize("options", [{}, {"smiles_column": "nope"}, {"smiles_column": "a", "id_column": "nope"}])
def test_a_missing_column_is_a_usage_error_that_lists_the_columns(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="Columns: a, b"):
        read_table(tmp_path, "a,b\nCCO,1\n", **options)


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_table_without_header_is_a_usage_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(UsageError, match="header"):
        read_table(tmp_path, content)


def test_repeated_and_empty_column_names_stay_apart(tmp_path: Path) -> None:
    records = read_table(tmp_path, ",smiles,x,x\n0,CCO,1,2\n")
    assert records[0].columns == {"Unnamed: 0": "0", "x": "1", "x.1": "2"}


@pytest.mark.parametrize(
    ("name", "delimiter", "content"),
    [
        ("t.tsv", None, "smiles\tx\nCCO\ta,b\n"),
        ("t.csv", "tab", "smiles\tx\nCCO\ta,b\n"),
        ("t.csv", ";", "smiles;x\nCCO;a,b\n"),
    ],
)
def test_delimiters(tmp_path: Path, name: str, delimiter: str | None, content: str) -> None:
    assert read_table(tmp_path, content, name, delimiter=delimiter) == [Record(Molecule("CCO"), None, {"x": "a,b"})]


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n"])
def test_a_delimiter_that_cannot_be_one_is_a_usage_error(tmp_path: Path, delimiter: str) -> None:
    if delimiter == "":
        assert read_table(tmp_path, "smiles\nC\n", delimiter=delimiter)  # an empty option is no option
        return
    with pytest.raises(UsageError, match="delimiter"):
        read_table(tmp_path, "smiles\nC\n", delimiter=delimiter)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_quoted_fields_may_hold_delimiters_quotes_and_line_ends(tmp_path: Path, ends: str) -> None:
    rows = [["smiles", "note"], ["CCO", 'a, "b"'], ["CC", f"two{ends}lines"], ["C", ""]]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=ends).writerows(rows)
    records = read_table(tmp_path, "\ufeff" + text.getvalue())
    assert records == [Record(Molecule(s), None, {"note": n}) for s, n in rows[1:]]


def test_blank_lines_are_no_rows_but_empty_fields_are(tmp_path: Path) -> None:
    assert outcomes(read_table(tmp_path, "smiles,x\n\n  \nCCO,1\n,\n\r\n")) == [GOOD, "empty_smiles"]
    assert outcomes(read_table(tmp_path, "smiles\tx\n\t\n", "t.tsv")) == ["empty_smiles"]


def test_a_name_in_the_smiles_field_is_trailing_text_and_spaces_around_it_are_not(tmp_path: Path) -> None:
    assert outcomes(read_table(tmp_path, "smiles\nCCO ethanol\n CCO \n")) == ["trailing_text", GOOD]


def test_a_row_of_the_wrong_width_is_rejected_alone(tmp_path: Path) -> None:
    records = read_table(tmp_path, 'smiles,x\nC\nC,1,2\nCC,1\n"C",1,2\nCCO,2\n')
    assert outcomes(records) == ["malformed_csv", "malformed_csv", GOOD, "malformed_csv", GOOD]
    assert isinstance(records[0].content, Rejected)
    assert records[0].content.message == "the row has 1 fields, the header 2"


def test_bytes_that_are_no_utf8_cost_one_row(tmp_path: Path) -> None:
    content = b'smiles,x\nC,\xff\nC,"\xfe"\nC,"a\nb\xfd"\nC,\0\nC,"\0"\nCC,\xc3\xa9\n'
    assert outcomes(read_table(tmp_path, content)) == ["invalid_utf8"] * 3 + ["nul_byte"] * 2 + [GOOD]


@pytest.mark.parametrize(
    "broken",
    [
        '"CCO,1',  # never closed
        'CCO,"1',
        '"CCO"x,1',
        'CCO,"1"2',
    ],
)
def test_a_stray_quote_costs_one_row(tmp_path: Path, broken: str) -> None:
    after = "".join(f"C,{row}\n" for row in range(500)) + '"CC","x"\nCCC,"a\nb"\n'
    records = read_table(tmp_path, f"smiles,x\nCC,0\n{broken}\n{after}")
    assert outcomes(records) == [GOOD, "malformed_csv", *[GOOD] * 502]
    assert records[-1] == Record(Molecule("CCC"), None, {"x": "a\nb"})


def test_a_stray_quote_at_the_end_of_the_file_costs_one_row(tmp_path: Path) -> None:
    assert outcomes(read_table(tmp_path, 'smiles,x\nC,1\nC,"2\nC,3')) == [GOOD, "malformed_csv", GOOD]


def test_a_quote_that_swallows_rows_into_the_smiles_costs_one_row(tmp_path: Path) -> None:
    assert outcomes(read_table(tmp_path, 'smiles,x\n"C,1\nC,2\nC",3\n')) == ["malformed_csv", GOOD, GOOD]


def test_an_open_quote_is_followed_no_further_than_the_row_limit(tmp_path: Path) -> None:
    many = "C,1\n" * 50_000
    records = read_table(tmp_path, f'smiles,x\nC,"2\n{many}', max_row_bytes=1000)
    assert outcomes(records) == ["malformed_csv", *[GOOD] * 50_000]


def test_a_line_too_long_within_a_quoted_field_costs_two_rows(tmp_path: Path) -> None:
    long = "y" * 200
    records = read_table(tmp_path, f'smiles,x\nC,"2\n{long}\nC,3\n', max_row_bytes=100)
    assert outcomes(records) == ["malformed_csv", "oversized", GOOD]


def test_lone_carriage_returns_are_refused_rather_than_merged(tmp_path: Path) -> None:
    assert outcomes(read_table(tmp_path, "smiles,x\nC,1\rC,2\n")) == ["malformed_csv"]


def test_an_endless_id_is_rejected_and_its_columns_kept(tmp_path: Path) -> None:
    records = read_table(tmp_path, f"smiles,id,x\nC,{'n' * 513},1\n")
    assert outcomes(records) == ["oversized"]
    assert records[0].custom_id is None
    assert records[0].columns == {"x": "1"}


def test_a_prompt_column(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("prompt\nc1ccccc1\n")
    assert list(read(tmp_path / "p.csv", kind=ContentKind.PROMPT)) == [Record(Prompt("c1ccccc1"))]
