"""Files that are replaced whole, so that a reader, or a writer that was killed, never leaves half of one."""

from __future__ import annotations

from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Write a text file beside its place and then put it there. Its folder has to exist."""
    fresh = file.with_name(file.name + ".new")
    fresh.write_text(text, "utf-8")
    fresh.replace(file)
