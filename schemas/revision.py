"""What exactly a model is: pinned when a job is submitted, and recorded with every outcome.

A registry may name a folder or a branch, whose contents can change from one day to the next. Pinning turns both
into hashes, which the worker compares before it loads, so that one job's rows are all computed by the same model.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ConfigurationError, ModelUnavailable
from schemas.footprint import weights_bytes
from schemas.registry import EngineKind, ModelEntry, Weights

BUILT_IN = "builtin"

_COMMIT = re.compile(r"[0-9a-f]{40}")
_ENDINGS = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja"})  # weights, configuration, tokenizer
_HUB_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Pinned:
    """An entry whose weights cannot change unnoticed, and the one word for all that decides its numbers.

    A folder's files have their sha256 in `entry`, a hub's branch has become a commit. `revision` reads
    `<weights>-<engine>-<precision>-<reading>`: the commit, or 16 digits of a hash over the pinned files; and last a
    hash over the endpoints and the length at which a row is cut or refused. A fake engine has no model: `builtin`.
    `need` is the bytes of its weights in memory; None where they lie on the workers' machines alone.
    """

    entry: ModelEntry
    revision: str
    need: int | None = None


def pin(entry: ModelEntry) -> Pinned:
    """Find out what the model is at this moment. A folder's files are read for it, pinned ones are not.

    Raises:
        ConfigurationError: the entry names no weights, or such as need `version` and `sha256` without them.
        ModelUnavailable: the folder is missing or holds no weights, or the hub cannot tell the commit.
    """
    if entry.engine is EngineKind.FAKE:
        return Pinned(entry, BUILT_IN, _need(entry))
    weights = _pinned(entry)
    if weights.hub is not None:
        identity = str(weights.revision)
    else:
        identity = _short([weights.package, weights.version, sorted(weights.sha256.items())], 16)
    reading = _short([[endpoint.name for endpoint in entry.endpoints], entry.limits.max_tokens], 8)
    pinned = entry.model_copy(update={"weights": weights})
    return Pinned(pinned, f"{identity}-{entry.engine.value}-{entry.precision}-{reading}", _need(pinned))


def revision_of(entry: ModelEntry) -> str:
    """The revision alone.

    Raises:
        ConfigurationError, ModelUnavailable: as `pin`.
    """
    return pin(entry).revision


def _pinned(entry: ModelEntry) -> Weights:
    weights = entry.weights
    if weights.path is not None:
        path = weights.path.expanduser().resolve()
        return weights.model_copy(update={"path": path, "sha256": {**_hashes(path), **weights.sha256}})
    if weights.shipped is not None:
        if not weights.sha256:
            raise ConfigurationError(f"model '{entry.name}': weights that are shipped need `sha256`")
        return weights
    if weights.package is not None:
        if weights.version is None or not weights.sha256:
            raise ConfigurationError(
                f"model '{entry.name}': weights from package {weights.package} need `version` and `sha256`"
            )
        return weights
    if weights.hub is not None:
        return weights.model_copy(update={"revision": _commit(weights.hub, weights.revision)})
    raise ConfigurationError(f"model '{entry.name}' has no weights; give it a path, a package or a hub repository")


def _need(entry: ModelEntry) -> int | None:
    try:
        return weights_bytes(entry, fetch=False)
    except (ModelUnavailable, OSError):  # who loads it will say so
        return None


def _short(parts: list[object], digits: int) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:digits]


def _hashes(path: Path) -> dict[str, str]:
    """The sha256 of each file that a model is read from, by its name below the folder; `.` for a single file."""
    if path.is_file():
        return {".": _sha256(path)}
    if not path.is_dir():
        raise ModelUnavailable(f"the model's weights {path} do not exist; correct `path` in the registry")
    names = sorted(
        file.relative_to(path).as_posix()
        for file in path.rglob("*")
        if file.suffix in _ENDINGS and file.is_file() and not file.relative_to(path).as_posix().startswith(".")
    )
    if not any(name.endswith(".safetensors") for name in names):
        raise ModelUnavailable(f"the folder {path} holds no safetensors; correct `path` in the registry")
    return {name: _sha256(path / name) for name in names}


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as fault:
        raise ModelUnavailable(f"the model's file {file} cannot be read: {fault.strerror}") from fault


def _commit(repository: str, revision: str | None) -> str:
    """The commit that a hub revision stands for at this moment."""
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    wanted = revision or "main"
    from huggingface_hub import HfApi

    try:
        commit = HfApi().model_info(repository, revision=wanted, timeout=_HUB_SECONDS).sha
    except Exception as fault:  # errors of the hub, of its client, and of whichever transport that uses
        reason = (str(fault).strip().splitlines() or [type(fault).__name__])[0]
        raise ModelUnavailable(
            f"the hub cannot tell which commit '{wanted}' of {repository} is ({reason}); "
            "pin it: set `revision` to the 40-digit commit in the registry"
        ) from fault
    if commit is None:
        raise ModelUnavailable(f"the hub knows no commit of {repository}; set `revision` to it in the registry")
    return commit
