"""SMILES files (`.smi`): one structure a line, and after white space its name.

Blank lines are skipped, here as in every line-based format; a first line whose first word is `smiles` is a header.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from producer.readers.lines import lines
from producer.readers.options import ReadOptions
from producer.validate import MAX_CUSTOM_ID, MAX_SMILES, check_custom_id, check_text, reject
from schemas.errors import RowError
from schemas.items import ContentKind, Molecule, Prompt, Record, Rejected


def read_smiles(stream: BinaryIO, kind: ContentKind, options: ReadOptions) -> Iterator[Record]:
    """The structures of a SMILES file, their names as `custom_id`."""
    make = Prompt if kind is ContentKind.PROMPT else Molecule
    first = True
    for line in lines(stream, options.row_limit(kind)):
        if isinstance(line, Rejected):
            first = False
            yield Record(line)
            continue
        words = line.split(None, 1)
        if not words:
            continue
        if first:
            first = False
            if words[0].lower() == "smiles":
                continue
        # One cheap test in the common case; the reasons are told apart only where one may apply.
        suspect = "\r" in line or "\0" in line or "|" in line or len(line) > MAX_CUSTOM_ID or not line.isascii()
        if suspect and (fault := _fault(line, words)) is not None:
            yield Record(fault)
        elif len(words) == 1:
            yield Record(make(words[0]))
        else:
            yield Record(make(words[0]), words[1].rstrip())


def _fault(line: str, words: list[str]) -> Rejected | None:
    """What is wrong with a line of a SMILES file, if anything is."""
    if (fault := check_text(line)) is not None:
        return fault
    if "\r" in line.rstrip("\r\n"):
        return reject(RowError.TRAILING_TEXT, "a carriage return stands within the line", line)
    if len(words[0]) > MAX_SMILES:
        return reject(RowError.OVERSIZED, f"the SMILES has more than {MAX_SMILES} characters", line)
    if len(words) == 1:
        return None
    if words[1].startswith("|"):
        return reject(RowError.TRAILING_TEXT, "CXSMILES extensions are not read; remove the |…| part", line)
    return check_custom_id(words[1].rstrip())
