"""Files of installed packages that are wanted for their data alone: found without importing the package."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from schemas.errors import ConfigurationError


def file_of(package: str, name: str, *, wanted_by: str, install: str) -> Path:
    """The file `name` of an installed package.

    Raises:
        ConfigurationError: it is not here; the message says who wants it and how to install it.
    """
    try:
        path = Path(str(distribution(package).locate_file(name)))
    except PackageNotFoundError as fault:
        raise ConfigurationError(f"{wanted_by} needs the package {package}: {install}") from fault
    if not path.exists():
        raise ConfigurationError(f"the package {package} holds no {name}: {install}")
    return path
