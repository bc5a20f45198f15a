"""How a source is to be read: what the user may say about it, and the limits that keep reading safe."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.items import ContentKind

_MIB = 1 << 20
_ROW_LIMITS = {
    ContentKind.MOLECULE: _MIB,  # a SMILES has a limit of its own; the other columns of a wide table count here
    ContentKind.PROMPT: _MIB,
    ContentKind.PAPER: 16 * _MIB,
}


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the user may say about a source. Unset: taken from the file's name and its header.

    `format` is a file-name ending such as `csv` or `smi.gz`. `max_row_bytes` bounds a row or a paper's file;
    `max_total_bytes` and `max_ratio` (output to input, judged past the first 64 MiB of output) bound what a
    compressed source may expand to.
    """

    smiles_column: str | None = None
    id_column: str | None = None
    delimiter: str | None = None
    format: str | None = None
    max_row_bytes: int | None = None
    max_total_bytes: int = 1 << 40
    max_ratio: float = 200.0

    def row_limit(self, kind: ContentKind) -> int:
        """Bytes that one row of this kind may have: 1 MiB for molecules and prompts, 16 MiB for papers, or as set."""
        return self.max_row_bytes or _ROW_LIMITS[kind]
