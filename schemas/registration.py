"""Models that were made on this machine: an entry a file in the home folder, read beside the built-in registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas.files import write_whole
from schemas.registry import ModelEntry


def as_toml(entry: ModelEntry) -> str:
    """An entry in the registry's form, without what is only a default."""
    described = entry.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
    tables = {name: value for name, value in described.items() if isinstance(value, dict)}
    lines = [f"[{json.dumps(entry.name)}]" if "." in entry.name else f"[{entry.name}]"]
    lines += [f"{name} = {_value(value)}" for name, value in described.items() if name not in tables]
    lines += [f"{name} = {_value(value)}" for name, value in tables.items()]
    return "\n".join(lines) + "\n"


def register(entry: ModelEntry, folder: Path) -> Path:
    """Add an entry to those in `folder` (`Settings.models_folder`), in place of one of the same name; its file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{entry.name}.toml"
    write_whole(file, as_toml(entry))
    return file


def _value(value: Any) -> str:
    """A TOML value on one line. JSON's strings, numbers and truth values are TOML's too."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(name)} = {_value(part)}" for name, part in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(part) for part in value) + "]"
    return json.dumps(value, ensure_ascii=False)
