"""Where rows come from: a file, a folder, or standard input; the order of a folder; and what identifies a source."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from producer.readers.formats import Packing, asked_packing, is_readable, listed, packing_of
from producer.readers.options import ReadOptions
from schemas.errors import NotFound, UsageError
from schemas.items import ContentKind

STANDARD_INPUT = "-"
_DIGITS = re.compile(r"([0-9]+)")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to read. `path` is None for standard input; `name` is its path below the folder that was given."""

    path: Path | None
    name: str
    packing: Packing


def files_of(source: str | Path, kind: ContentKind, options: ReadOptions) -> Iterator[SourceFile]:
    """The files that a source stands for; a folder's in natural order (`a2` before `a10`), with its subfolders.

    Hidden files, linked folders and files of other formats are passed over in a folder.

    Raises:
        NotFound: the source does not exist.
        UsageError: its format is not known, or a folder has no file of a known format.
    """
    asked = None if options.format is None else asked_packing(options.format, kind)
    if str(source) == STANDARD_INPUT:
        if asked is None:
            raise UsageError(f"name the format of standard input (--format): {listed(kind)}")
        yield SourceFile(None, "standard input", asked)
        return
    path = Path(source)
    if not path.exists():
        raise NotFound(f"no such file or folder: {path}")
    if path.is_dir():
        yield from _files_in(path, kind, asked)
        return
    packing = packing_of(path.name)
    if asked is not None:
        packing = Packing(asked.format, asked.compression or packing.compression)
    if not is_readable(packing, kind):
        raise UsageError(f"{path.name}: no format of {kind}s is known by this name (--format): {listed(kind)}")
    yield SourceFile(path, path.name, packing)


def source_fingerprint(
    source: str | Path, kind: ContentKind | None = None, options: ReadOptions | None = None
) -> str | None:
    """SHA-256 over the place, size and time of change of each file; None where there is none to compare, as for `-`.

    With a kind (and options) only the files that would be read count, so that other files may come and go in a
    folder.

    Raises:
        NotFound: the source does not exist.
        UsageError: as `files_of`, if a kind is given.
    """
    path = Path(source)
    paths: Iterable[Path]
    if str(source) == STANDARD_INPUT or (path.exists() and not path.is_dir() and not path.is_file()):
        return None
    if kind is not None:
        paths = (file.path for file in files_of(source, kind, options or ReadOptions()) if file.path is not None)
    elif not path.exists():
        raise NotFound(f"no such file or folder: {path}")
    else:
        paths = (path,) if path.is_file() else _walk(path)
    digest = hashlib.sha256()
    for file in paths:
        status = file.stat()
        digest.update(os.fsencode(f"{file.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\n"))
    return digest.hexdigest()


def describe_source(source: str | Path) -> str:
    """The source as a person would name it again: an absolute path, or `-`."""
    return STANDARD_INPUT if str(source) == STANDARD_INPUT else storable_name(str(Path(source).resolve()))


def storable_name(name: str) -> str:
    """A file name as text that can be stored; bytes of it that are no UTF-8 are spelt out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _files_in(folder: Path, kind: ContentKind, asked: Packing | None) -> Iterator[SourceFile]:
    found = False
    for path in _walk(folder):
        packing = packing_of(path.name)
        if is_readable(packing, kind) and (asked is None or packing.format is asked.format):
            found = True
            yield SourceFile(path, path.relative_to(folder).as_posix(), packing)
    if not found:
        raise UsageError(f"{folder} holds no file of a known format: {listed(kind)}")


def _walk(folder: Path) -> Iterator[Path]:
    """The visible files below a folder, in natural order; only one folder's names are held at a time and level."""
    try:
        with os.scandir(folder) as entries:
            names = [
                (entry.name, entry.is_dir(follow_symlinks=False))
                for entry in entries
                if not entry.name.startswith(".") and (entry.is_file() or entry.is_dir(follow_symlinks=False))
            ]
    except OSError as fault:
        raise UsageError(f"cannot read the folder {folder}: {fault.strerror}") from fault
    for name, is_folder in sorted(names, key=_natural):
        if is_folder:
            yield from _walk(folder / name)
        else:
            yield folder / name


def _natural(entry: tuple[str, bool]) -> tuple[list[str | int], str]:
    """A key that sorts numbers within names by value."""
    parts = _DIGITS.split(entry[0])
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], entry[0]
