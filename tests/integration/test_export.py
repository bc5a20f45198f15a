"""From submission to file and back: every row, in the input's order, in all formats."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import sciqueue
from simulated_worker import answer, generation, work_off

from producer.export import Format
from producer.export_types import FLOAT, TEXT
from schemas.database import Database
from schemas.items import Task
from schemas.ledger import jobs

SMILES = ["CCO", "bad,1", "", "CC", 'C"quoted', "C" * 40]


pytestmark = pytest.mark.usefixtures("command_settings", "_in_a_folder")


@pytest.fixture
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def submitted(rows: list[dict[str, Any]], *, model: str = "fake-predict") -> int:
    Path("input.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended = sciqueue("submit", "input.jsonl", "--model", model, "--json")
    assert ended.code == 0, ended.err
    return int(json.loads(ended.out)["job"])


def exported(job: int, ending: str, *options: object) -> list[dict[str, Any]]:
    """Export to a file, and read it as a user would."""
    file = Path(f"out.{ending}")
    ended = sciqueue("export", job, "-o", file, *options)
    assert ended.code == 0, ended.err
    if ending == "csv":
        with file.open(newline="") as lines:
            return list(csv.DictReader(lines))
    if ending == "jsonl":
        return [json.loads(line) for line in file.read_text().splitlines()]
    return list(pq.read_table(file).to_pylist())


@pytest.fixture
def done(database: Database) -> int:
    job = submitted([{"id": f"m{place}", "smiles": smiles, "lot": place} for place, smiles in enumerate(SMILES)])
    work_off(database, Task.PREDICT, answer)
    return job


@pytest.mark.parametrize("ending", list(Format))
def test_every_row_comes_back_in_the_inputs_order_with_its_columns(done: int, ending: str) -> None:
    rows = exported(done, ending)
    assert [row["custom_id"] for row in rows] == [f"m{place}" for place in range(len(SMILES))]
    assert [int(row["row"]) for row in rows] == list(range(len(SMILES)))
    assert [int(row["lot"]) for row in rows] == list(range(len(SMILES)))
    assert [row["status"] for row in rows] == ["ok", "failed", "failed", "ok", "ok", "ok"]
    assert [row["error_code"] or None for row in rows[:3]] == [None, "invalid_smiles", "empty_smiles"]
    read = [row["smiles"] for row in rows]
    assert read[:2] + read[3:] == SMILES[:2] + SMILES[3:]
    assert [float(row["checksum"]) for row in rows if row["status"] == "ok"] == pytest.approx([0.1] * 4)
    assert rows[1]["checksum"] in (None, "")


def test_numbers_leave_with_the_digits_of_a_32_bit_float(done: int) -> None:
    assert {row["checksum"] for row in exported(done, "csv") if row["status"] == "ok"} == {"0.1"}
    assert {row["checksum"] for row in exported(done, "jsonl") if row["status"] == "ok"} == {0.1}


def test_parquet_has_sane_types(done: int, database: Database) -> None:
    exported(done, "parquet")
    schema = pq.read_schema("out.parquet")
    assert {field.name: field.type for field in schema} == {
        "lot": pa.int64(),
        "custom_id": TEXT,
        "row": pa.int64(),
        "smiles": TEXT,
        "standardized": TEXT,
        "inchikey": TEXT,
        "checksum": FLOAT,
        "checksum_std": FLOAT,
        "checksum_percentile": FLOAT,
        "status": TEXT,
        "error_code": TEXT,
        "error": TEXT,
    }


def test_generated_samples_keep_their_lists_and_numbers(database: Database) -> None:
    ended = sciqueue("submit", "--model", "fake-generate", "--count", 2, "--param", "samples=2", "--json")
    job = int(json.loads(ended.out)["job"])
    work_off(database, Task.GENERATE, generation)
    by_format = {ending: exported(job, ending) for ending in Format}
    for rows in by_format.values():
        assert [(int(row["row"]), int(row["sample"])) for row in rows] == [(0, 0), (0, 1), (1, 0), (1, 1)]
        assert [row["smiles"] for row in rows] == ["C", "CO", "CC", "CCO"]
        assert int(rows[1]["seed"]) == 2**40 + 1
    alerts = ["a,b", 'c"d']
    assert by_format[Format.PARQUET][0]["alerts"] == by_format[Format.JSONL][0]["alerts"] == alerts
    assert json.loads(by_format[Format.CSV][0]["alerts"]) == alerts
    assert by_format[Format.CSV][0]["valid"] == "true"
    types = {field.name: field.type for field in pq.read_schema("out.parquet")}
    assert (types["valid"], types["sample"], types["qed"]) == (pa.bool_(), pa.int32(), FLOAT)


def test_summaries_keep_their_sentences(database: Database) -> None:
    job = submitted([{"id": "p", "title": "T", "text": "One. Two."}], model="fake-summarize")
    work_off(database, Task.SUMMARIZE, answer)
    sentences = [{"text": "About T.", "section": 0, "sentence": 0, "score": 0.5}]
    assert exported(job, "parquet")[0]["sentences"] == sentences
    assert exported(job, "jsonl")[0]["sentences"] == sentences
    assert json.loads(exported(job, "csv")[0]["sentences"]) == sentences
    assert pq.read_schema("out.parquet").field("coverage").type == FLOAT
    assert pq.read_schema("out.parquet").field("support").type == FLOAT


def test_a_users_columns_of_all_kinds_come_back_unchanged(database: Database) -> None:
    given = [
        {"smiles": "C", "flag": True, "grams": 1, "code": "007", "more": {"a": [1]}, "status": "mine", "long": 2**60},
        {"smiles": "C", "flag": False, "grams": 0.1 + 0.2, "code": "1e5", "more": [1, "x"], "status": "", "long": -1},
        {"smiles": "C", "code": " padded "},
    ]
    job = submitted(given)
    work_off(database, Task.PREDICT, answer)
    as_json, as_parquet = exported(job, "jsonl"), exported(job, "parquet")
    for place, row in enumerate(given):
        for name in ("flag", "grams", "code", "status", "long"):
            assert as_json[place][name] == as_parquet[place][name] == row.get(name)
        assert as_json[place]["more"] == row.get("more")
        assert json.loads(as_parquet[place]["more"] or "null") == row.get("more")
    as_csv = exported(job, "csv")
    assert as_csv[1]["grams"] == "0.30000000000000004"
    assert as_csv[0]["code"] == "007"
    assert {row["sciqueue_status"] for row in as_csv} == {"ok"}
    types = {field.name: field.type for field in pq.read_schema("out.parquet")}
    assert [types[name] for name in ("flag", "grams", "code", "long")] == [pa.bool_(), pa.float64(), TEXT, pa.int64()]


def test_columns_can_be_chosen_and_spread_left_out(done: int) -> None:
    assert list(exported(done, "csv", "--columns", "row,checksum")[0]) == ["row", "checksum"]
    assert not {name for name in exported(done, "csv", "--no-spread")[0] if name.startswith("checksum_")}
    ended = sciqueue("export", done, "--columns", "row,colour")
    assert ended.code == 2
    assert "no column 'colour'; there are: " in ended.err


def test_only_the_failures_can_be_asked_for(done: int) -> None:
    assert [row["row"] for row in exported(done, "jsonl", "--failures-only")] == [1, 2]


def test_standard_output_is_csv_unless_a_format_is_named(done: int) -> None:
    plain = sciqueue("export", done)
    assert plain.err == ""
    assert len(list(csv.DictReader(io.StringIO(plain.out)))) == len(SMILES)
    lines = sciqueue("export", done, "--format", "jsonl").out.splitlines()
    assert len([json.loads(line) for line in lines]) == len(SMILES)
    assert sciqueue("export", done, "--format", "parquet").code == 2


def test_a_corpus_without_rows_exports_its_header(database: Database) -> None:
    job = submitted([])
    jobs.finish(database)
    assert sciqueue("export", job).out.startswith("custom_id,row,smiles,")
    assert exported(job, "jsonl") == exported(job, "parquet") == []


def test_an_unfinished_job_is_exported_with_a_warning(database: Database) -> None:
    job = submitted([{"smiles": "C"}, {"smiles": "CC"}])
    ended = sciqueue("export", job)
    assert ended.code == 0
    assert "running with 0 of 2 outcomes" in ended.err
    assert [row["status"] for row in csv.DictReader(io.StringIO(ended.out))] == ["pending", "pending"]


def test_an_unknown_ending_or_folder_is_refused_and_leaves_nothing(done: int) -> None:
    assert "--format" in sciqueue("export", done, "-o", "out.xlsx").err
    ended = sciqueue("export", done, "-o", "missing/out.csv")
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert "cannot write missing/out.csv" in ended.err
    assert {file.name for file in Path().iterdir()} == {"input.jsonl"}


def test_a_pipe_or_device_is_written_to_and_stays_one(done: int) -> None:
    assert sciqueue("export", done, "-o", "/dev/null", "--format", "csv").code == 0
    assert not Path("/dev/null").is_file()


# Exports a small job first, so that whatever is made once is there, then a ten times larger one in each format.
_MEASURED = """
import resource, sys
from schemas.command import main

def export(job, file):
    sys.argv = ["sciqueue", "export", job, "-o", file]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, ended
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before = [export("1", "few." + ending) for ending in ("csv", "parquet")][-1]
print(*[export("2", "many." + ending) - before for ending in ("csv", "parquet")], file=sys.stderr)
"""
MANY = 100_000


def _fill(database: Database, corpus: int, job: int, rows: int) -> None:
    """Rows and outcomes as loading and computing leave them, written by the server itself."""
    with database.transaction() as connection:
        connection.execute("UPDATE corpora SET loaded = %s WHERE id = %s", (rows, corpus))
        connection.execute("DELETE FROM items WHERE corpus_id = %s", (corpus,))
        connection.execute(
            "INSERT INTO items (corpus_id, row, custom_id, smiles, columns, size) SELECT %s, n, 'm' || n, "
            "repeat('C', 30), json_build_object('note', repeat('x', 50), 'n', n), 30 FROM generate_series(0, %s - 1) n",
            (corpus, rows),
        )
        connection.execute(
            'INSERT INTO predictions (job_id, row, batch_id, standardized, inchikey, "values", spread, percentile) '
            "SELECT %s, n, 1, repeat('C', 30), repeat('K', 27), ARRAY[n / 3.0], ARRAY[n / 7.0], ARRAY[50.0] "
            "FROM generate_series(0, %s - 1) n",
            (job, rows),
        )
        connection.execute("UPDATE jobs SET state = 'done', cut_row = %s WHERE id = %s", (rows, job))


@pytest.mark.slow
def test_a_hundred_thousand_rows_take_no_more_memory_than_ten_thousand(database: Database) -> None:
    for job, rows in ((1, MANY // 10), (2, MANY)):
        assert submitted([{"smiles": "C" * job}]) == job
        _fill(database, job, job, rows)
    # Memory that the allocator keeps for itself would blur the picture.
    environment = os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system"}
    ended = subprocess.run([sys.executable, "-c", _MEASURED], capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    grown = [float(word) for word in ended.stderr.splitlines()[-1].split()]
    assert max(grown) < 40.0, f"MiB more at {MANY} rows, in csv and parquet: {grown}"
    assert pq.read_metadata("many.parquet").num_rows == MANY
    assert pq.read_metadata("many.parquet").num_row_groups == 2
    with Path("many.csv").open() as lines:
        assert sum(1 for _ in lines) == MANY + 1
