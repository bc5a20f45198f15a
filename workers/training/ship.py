"""Makes a trained model one of those that come with sciqueue: `python -m workers.training.ship FOLDER NAME`.

The model and its card go to `schemas/shipped/NAME`, and the hashes of the model's files into NAME's entry in
`schemas/models.toml`, which has to be there. For a checkout, not for an installation.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from pathlib import Path

from schemas.registry import BUILT_IN, SHIPPED, load_registry


def ship(folder: Path, name: str, *, registry: Path = BUILT_IN, shipped: Path = SHIPPED) -> None:
    """Copy the model of a training run's folder and pin it.

    Raises:
        SystemExit: the registry has no entry of that name whose weights are shipped.
    """
    model = folder / "model"
    files = {file.relative_to(model).as_posix(): file for file in sorted(model.rglob("*")) if file.is_file()}
    hashes = ", ".join(f'"{name}" = "{hashlib.sha256(file.read_bytes()).hexdigest()}"' for name, file in files.items())
    line = f'weights = {{ shipped = "{name}", sha256 = {{ {hashes} }} }}'
    text, found = re.subn(
        rf'^weights = {{ shipped = "{re.escape(name)}".*$', line, registry.read_text("utf-8"), flags=re.M
    )
    if found != 1:
        sys.exit(f'{registry} has no entry with: weights = {{ shipped = "{name}" }}')
    target = shipped / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(model, target)
    for described in ("README.md", "card.json"):
        shutil.copy(folder / described, target)
    registry.write_text(text, "utf-8")


if __name__ == "__main__":
    ship(Path(sys.argv[1]), sys.argv[2])
    print(load_registry().get(sys.argv[2]).weights.sha256)
