"""Compressed sources: whole, joined, cut off, damaged, and bombs."""

from __future__ import annotations

import gzip
import io
import random
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import zstandard

from producer.readers.open import read
from producer.readers.options import ReadOptions
from schemas.errors import UsageError
from schemas.items import ContentKind

MOLECULE = ContentKind.MOLECULE
_RANDOM = random.Random(1)
LINES = [f"C{'CNO'[_RANDOM.randrange(3)] * _RANDOM.randrange(1, 30)} m{_RANDOM.random()}" for _ in range(20_000)]
PLAIN = ("\n".join(LINES) + "\n").encode()
PACKERS: list[tuple[str, Callable[[bytes], bytes]]] = [("gz", gzip.compress), ("zst", zstandard.compress)]
packers = pytest.mark.parametrize(("ending", "pack"), PACKERS, ids=["gzip", "zstd"])


def collect(file: Path, options: ReadOptions | None = None) -> tuple[list[str | None], str | None]:
    """The names that were read, and the fault that ended reading."""
    names: list[str | None] = []
    try:
        names.extend(record.custom_id for record in read(file, kind=MOLECULE, options=options))
    except UsageError as fault:
        return names, str(fault)
    return names, None


NAMES = [line.split()[1] for line in LINES]


@packers
def test_a_compressed_file_reads_like_the_plain_one(
    tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    file = tmp_path / f"m.smi.{ending}"
    file.write_bytes(pack(PLAIN))
    assert collect(file) == (NAMES, None)


@packers
def test_joined_frames_are_all_read(tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    file = tmp_path / f"m.smi.{ending}"
    middle = len(PLAIN) // 2
    file.write_bytes(pack(PLAIN[:middle]) + pack(b"") + pack(PLAIN[middle:]))
    assert collect(file) == (NAMES, None)


def test_padding_after_gzip_and_skippable_zstd_frames_are_ignored(tmp_path: Path) -> None:
    padded, skipped = tmp_path / "p.smi.gz", tmp_path / "s.smi.zst"
    padded.write_bytes(gzip.compress(PLAIN) + b"\0" * 5000)
    skipped.write_bytes(b"\x50\x2a\x4d\x18\x04\0\0\0info" + zstandard.compress(PLAIN))
    assert collect(padded) == collect(skipped) == (NAMES, None)


@packers
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.7, 0.999])
def test_a_cut_source_gives_its_whole_rows_and_then_raises(
    tmp_path: Path, ending: str, pack: Callable[[bytes], bytes], kept: float
) -> None:
    packed = pack(PLAIN)
    file = tmp_path / f"m.smi.{ending}"
    file.write_bytes(packed[: int(len(packed) * kept)])
    names, fault = collect(file)
    assert fault is not None
    assert "ends in the middle" in fault
    assert "m.smi" in fault
    assert names == NAMES[: len(names)]
    assert kept < 0.5 or len(names) > 1000


@packers
def test_damage_raises(tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    packed = bytearray(pack(PLAIN))
    packed[len(packed) // 2 : len(packed) // 2 + 50] = b"\xa5" * 50
    file = tmp_path / f"m.smi.{ending}"
    file.write_bytes(packed)
    _, fault = collect(file)
    assert fault is not None
    assert "damaged" in fault


@packers
def test_what_is_not_compressed_at_all_raises(tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    file = tmp_path / f"m.smi.{ending}"
    file.write_bytes(PLAIN)
    assert "damaged" in (collect(file)[1] or "")


@packers
def test_a_decompression_bomb_raises(tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    file = tmp_path / f"m.smi.{ending}"
    file.write_bytes(pack(b" " * (80 << 20)))
    tracemalloc.start()
    try:
        assert "bomb" in (collect(file)[1] or "")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20
    assert collect(file, ReadOptions(max_ratio=1e9))[1] is None


@packers
def test_a_source_may_not_expand_past_its_limit(tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    file = tmp_path / f"m.smi.{ending}"
    file.write_bytes(pack(PLAIN))
    assert "max_total_bytes" in (collect(file, ReadOptions(max_total_bytes=10_000))[1] or "")


def test_standard_input_is_read_in_the_format_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO(gzip.compress(b"smiles,id\nCCO,a\n"))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
    (record,) = read("-", kind=MOLECULE, options=ReadOptions(format="csv.gz"))
    assert record.custom_id == "a"
    assert not stream.closed


def test_standard_input_without_a_format_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="--format"):
        list(read("-", kind=MOLECULE))
