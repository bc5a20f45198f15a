"""The molecules that a generated one must not be: a file of SMILES as sorted 64-bit keys, eight bytes a molecule.

They are told apart as generated ones are, by RDKit's canonical SMILES of the structure as written: no salt is
stripped, no charge or tautomer changed, and stereo counts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from producer.readers.iterables import records_from
from producer.readers.open import read
from producer.readers.sources import source_fingerprint
from producer.yields import FAILED, Keys
from schemas.errors import UsageError
from schemas.items import ContentKind, Molecule, Record

_CHUNK = 2_000  # molecules that a process gets at a time: a third of a second of work


@dataclass(frozen=True, slots=True)
class Known:
    """Keys in ascending order, each once; `unreadable` rows of the source were no molecule and are passed over."""

    keys: Keys
    unreadable: int

    def holds(self, keys: Keys) -> NDArray[np.bool_]:
        """For each key, whether its molecule is known."""
        at = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        found: NDArray[np.bool_] = self.keys[at] == keys
        return found


def known_molecules(
    source: str | Path | Iterable[Any], cache: Path, on_progress: Callable[[int], None] | None = None
) -> Known:
    """Read what is known: any file of molecules that `submit` reads, or an iterable of SMILES.

    All cores work on it, about 6,000 molecules a second each; what a file gave is kept in the folder `cache` and used
    again as long as the file stays as it is. `on_progress` gets the number of rows so far.

    Raises:
        NotFound: there is no such file.
        UsageError: its form is not known, it holds no molecule, or one of its molecules ends RDKit's process.
    """
    if not isinstance(source, str | Path):
        return _read(records_from(source, ContentKind.MOLECULE), on_progress)
    fingerprint = source_fingerprint(source, ContentKind.MOLECULE)
    if fingerprint is None:
        raise UsageError(f"known molecules are read from a file or a folder, not from '{source}'")
    kept = cache / f"{fingerprint[:32]}-rdkit-{version('rdkit')}.npz"
    if kept.exists():
        with np.load(kept) as arrays:
            return Known(arrays["keys"], int(arrays["unreadable"]))
    known = _read(read(source, kind=ContentKind.MOLECULE), on_progress)
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_suffix(f".{os.getpid()}.part")
    with unfinished.open("wb") as file:
        np.savez(file, keys=known.keys, unreadable=np.int64(known.unreadable))
    unfinished.replace(kept)
    return known


def _read(records: Iterator[Record], on_progress: Callable[[int], None] | None) -> Known:
    chunks = _Chunks(records, on_progress)
    processes = os.cpu_count() or 1
    with ThreadPoolExecutor(processes) as threads:
        try:
            done = [threads.submit(_keys_of, chunks) for _ in range(processes)]
            parts = [part for future in done for part in future.result()]
        finally:
            chunks.stop()  # after a fault, or Ctrl-C, the others end with what they have begun
    keys = np.unique(np.concatenate([np.zeros(0, np.uint64), *parts]))
    keys = keys[keys != FAILED]
    if not len(keys):
        raise UsageError("the known molecules are none: no row of their source is a SMILES that RDKit can read")
    return Known(keys, chunks.rejected + sum(int(np.count_nonzero(part == FAILED)) for part in parts))


class _Chunks:
    """The source's molecules, given out in parts to whichever thread asks next; rows without one are counted."""

    def __init__(self, records: Iterator[Record], on_progress: Callable[[int], None] | None) -> None:
        self._records = records
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._stopped = False
        self._taken = 0
        self.rejected = 0

    def take(self) -> tuple[list[str], int]:
        """The next molecules, none at the end, and the row that they begin at."""
        with self._lock:
            part: list[str] = []
            begin = self._taken
            while not part and not self._stopped:
                rows = list(islice(self._records, _CHUNK))
                if not rows:
                    break
                begin = self._taken
                part = [row.content.smiles for row in rows if isinstance(row.content, Molecule)]
                self.rejected += len(rows) - len(part)
                self._taken += len(rows)
                if self._on_progress:
                    self._on_progress(self._taken)
            return part, begin

    def stop(self) -> None:
        """Give out no more."""
        self._stopped = True


def _keys_of(chunks: _Chunks) -> list[Keys]:
    """Have a process of this thread's own find the keys of parts until there are no more."""
    command = [sys.executable, "-m", "producer.canonical"]
    keys: list[Keys] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        while True:
            part, row = chunks.take()
            if not part:
                return keys
            try:
                keys.append(_asked(process, part))
            except BrokenPipeError:
                status = process.wait()
                raise UsageError(
                    f"the process that reads known molecules ended with status {status} within {len(part)} rows from "
                    f"row {row} on; if it does so again, one of them is to blame: remove it"
                ) from None


def _asked(process: subprocess.Popen[bytes], part: Sequence[str]) -> Keys:
    """The keys of these SMILES.

    Raises:
        BrokenPipeError: the process has ended.
    """
    assert process.stdin is not None and process.stdout is not None  # noqa: S101 - both are pipes
    try:
        process.stdin.write(f"{len(part)}\n{chr(10).join(part)}\n".encode())
        process.stdin.flush()
    except BrokenPipeError:
        with suppress(BrokenPipeError):
            process.stdin.close()  # what it still holds cannot be sent on leaving either
        raise
    reply = process.stdout.read(8 * len(part))
    if len(reply) < 8 * len(part):
        raise BrokenPipeError
    return np.frombuffer(reply, np.uint64)
