"""A model's files on this machine, after checking that they are the ones the registry names.

An engine asks here before it loads anything, so a changed package or a floating hub revision is refused before a
single byte of it is interpreted.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from schemas.errors import ModelUnavailable
from schemas.registry import Weights
from schemas.weight_files import find


def locate(weights: Weights) -> Path:
    """The folder (or the single file, for a `path` that names one) which holds a model's files, all of them compared.

    A package's `folder` counts from where the distribution is installed, so it begins with an import name; the
    files named in `sha256` count from that folder and are all compared. Shipped weights need `sha256`, a package
    `version` and `sha256`, a hub repository the full commit hash as `revision`, since tags and branches can be moved.

    Raises:
        ModelUnavailable: nothing is named, or it is missing, not the pinned version, or changed.
    """
    folder = find(weights)
    for name, expected in weights.sha256.items():
        _compare(folder / name, expected)
    return folder


def _compare(file: Path, expected: str) -> None:
    try:
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as fault:
        raise ModelUnavailable(f"the model's file {file} cannot be read: {fault.strerror}") from fault
    if found != expected.lower():
        raise ModelUnavailable(
            f"the model's file {file} has sha256 {found[:16]}…, the registry pins {expected[:16]}…; "
            "it was changed: install it anew, or correct the registry"
        )
