"""The writers alone, over rows made on the spot."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from producer.export import Format, format_of, replacing, write
from producer.export_types import FLOAT, TEXT, Columns
from schemas.errors import UsageError


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "results.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError), replacing(target) as file:
        file.write(b"half of the new")
        raise RuntimeError
    assert target.read_text() == "old"
    with replacing(target) as file:
        file.write(b"new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert [one.name for one in tmp_path.iterdir()] == ["results.csv"]


def test_endings_name_formats_whatever_their_case() -> None:
    assert format_of(Path("a.CSV")) is Format.CSV
    assert format_of(Path("a.ndjson")) is Format.JSONL
    assert format_of(Path("a.pq")) is Format.PARQUET
    with pytest.raises(UsageError, match="ending"):
        format_of(Path("csv"))


def _with_later_surprises(count: int) -> Iterator[dict[str, Any]]:
    for row in range(count):
        late = row > count - 5
        yield {"whole": "7" if late else row, "grown": 0.5 if late else row, "same": row, "value": row / 3}


def test_parquet_turns_a_column_that_changes_its_kind_late_into_text() -> None:
    columns: Columns = {"whole": None, "grown": None, "same": None, "value": FLOAT}
    target = io.BytesIO()
    count = 12_000
    assert write(lambda: _with_later_surprises(count), columns, target, Format.PARQUET) == count
    table = pq.read_table(target)
    assert [field.type for field in table.schema] == [TEXT, TEXT, pa.int64(), FLOAT]
    assert table["whole"].to_pylist()[:2] == ["0", "1"]
    assert table["whole"].to_pylist()[-1] == "7"
    assert table["grown"].to_pylist()[-1] == "0.5"


def test_every_32_bit_float_comes_back_from_text() -> None:
    bits = np.random.default_rng(7).integers(0, 2**32, 20_000, dtype=np.uint32).view(np.float32)
    values = [float(value) for value in bits[np.isfinite(bits)]]
    for form in (Format.CSV, Format.JSONL):
        target = io.BytesIO()
        write(lambda: iter({"x": value} for value in values), {"x": FLOAT}, target, form)
        lines = target.getvalue().decode().splitlines()
        read = [float(line) for line in lines[1:]] if form is Format.CSV else [json.loads(line)["x"] for line in lines]
        assert [float(np.float32(value)) for value in read] == values
