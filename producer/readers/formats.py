"""What a file holds, by the ending of its name."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from producer.readers.streams import Compression
from schemas.errors import UsageError
from schemas.items import ContentKind


class Format(StrEnum):
    """The forms in which rows and papers come. `TEXT` is one paper, or SMILES lines."""

    SMILES = "smi"
    TEXT = "txt"
    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"
    JATS = "xml"
    TAR = "tar"


_ENDINGS = {str(form): form for form in Format} | {
    "smiles": Format.SMILES,
    "ism": Format.SMILES,
    "ndjson": Format.JSONL,
    "nxml": Format.JATS,
    "jats": Format.JATS,
}
_LINES = frozenset({Format.SMILES, Format.TEXT, Format.CSV, Format.TSV, Format.JSONL})
_FORMATS = {
    ContentKind.MOLECULE: _LINES,
    ContentKind.PROMPT: _LINES,
    ContentKind.PAPER: frozenset({Format.JSONL, Format.JATS, Format.TEXT, Format.TAR}),
}


@dataclass(frozen=True, slots=True)
class Packing:
    """A file's format and compression, either of them None where the name does not tell."""

    format: Format | None
    compression: Compression | None


def packing_of(name: str) -> Packing:
    """What a file name tells: `corpus.csv.gz` is CSV in gzip."""
    *stem, ending = name.lower().split(".")
    if stem and ending == "tgz":
        return Packing(Format.TAR, Compression.GZIP)
    compression = next((known for known in Compression if stem and ending == known), None)
    if compression is not None:
        *stem, ending = stem
    return Packing(_ENDINGS.get(ending) if stem else None, compression)


def asked_packing(asked: str, kind: ContentKind) -> Packing:
    """What the user's `format` option means.

    Raises:
        UsageError: there is no such format for this kind of content; the message lists those there are.
    """
    packing = packing_of("." + asked.removeprefix("."))
    if not is_readable(packing, kind):
        raise UsageError(f"no format '{asked}' for {kind}s; there are: {listed(kind)}")
    return packing


def is_readable(packing: Packing, kind: ContentKind) -> bool:
    """Whether a reader exists for that format and kind of content."""
    return packing.format in _FORMATS[kind]


def listed(kind: ContentKind) -> str:
    """The file-name endings of a kind of content, for messages."""
    endings = sorted(ending for ending, form in _ENDINGS.items() if form in _FORMATS[kind])
    return ", ".join(endings) + "; each also with .gz or .zst"
