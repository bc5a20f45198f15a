"""Papers and what a summarizer shall write of them: a data set by name, from an installed package, or a JSONL file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from schemas.errors import NotFound, UsageError
from schemas.items import Paper
from schemas.paper_mapping import WrongForm, take_paper
from workers.training.data_file import of_package, opened, sha256_of

ABSTRACT = "abstract"
_READ = ("text", "sections")  # what the model reads, so no target
_ASPECTS = ("challenge", "approach", "outcome")  # a sentence each, by the experts of ACLSum

_ACLSUM = ("aclsum", "0.1.2", "MIT (ACLSum; the papers are the ACL Anthology's)")
_NAMED = {f"aclsum:{split}": (*_ACLSUM, f"aclsum/dataset/{split}.jsonl") for split in ("train", "val", "test")}


@dataclass(frozen=True, slots=True)
class Pair:
    """A paper without the text that its summary is to be, and that text."""

    paper: Paper
    target: str


@dataclass(frozen=True, slots=True)
class PaperSource:
    """Where pairs come from. `target` is `abstract` or a column; `licence` is "" where it is for the user to state."""

    name: str
    file: Path
    target: str = ABSTRACT
    licence: str = ""

    def sha256(self) -> str:
        """As `sha256_of`."""
        return sha256_of(self.file)

    def rows(self, limit: int | None = None) -> Iterator[Pair | str]:
        """For each object in the file's order its pair, or why it cannot be learnt from; the first `limit` of them.

        An object is a line of JSONL as `schemas.paper_mapping` has it; blank lines are skipped. The abstract is never
        part of the paper, unless that has no other text and something else is the target.

        Raises:
            UsageError: the file cannot be read as text.
        """
        try:
            with opened(self.file) as text:
                lines = (line for line in text if not line.isspace())
                yield from (self._row(line) for line in islice(lines, limit))
        except (OSError, UnicodeDecodeError, EOFError) as fault:
            raise UsageError(f"{self.file} cannot be read: {fault}") from fault

    def _row(self, line: str) -> Pair | str:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return "that are no JSON"
        if not isinstance(row, dict):
            return "that are no JSON object"
        if self.name in _NAMED:
            row = _aclsum(row)
        target = row.pop(self.target, None)
        if not isinstance(target, str) or not target.strip():
            return f"without text in '{self.target}'"
        try:
            return Pair(replace(take_paper(row), identifiers={}), target)
        except WrongForm:
            return "not in the form of a paper"


def find_papers(data: str, target: str = ABSTRACT, licence: str = "") -> PaperSource:
    """The source that `data` means: one of the named ones, or a path.

    Raises:
        ConfigurationError: the package with the named data is not installed.
        NotFound: neither a name nor a file.
        UsageError: the target is what the model reads.
    """
    if target in _READ:
        raise UsageError(f"--target {target}: that is what the model reads; name another column, or '{ABSTRACT}'")
    if data not in _NAMED:
        if not Path(data).is_file():
            raise NotFound(f"no file {data}, and no data set of that name; named ones: {', '.join(_NAMED)}")
        return PaperSource(data, Path(data).resolve(), target, licence)
    package, version, known_licence, name = _NAMED[data]
    return PaperSource(data, of_package(data, package, version, name), target, licence or known_licence)


def _aclsum(row: dict[str, Any]) -> dict[str, Any]:
    """A paper of ACLSum in the form of any other; `experts` are the three sentences of its columns as one summary."""
    said = {title: " ".join(text) for title, text in row["sentences"].items()}
    aspects = {name: row["summary"][name] for name in _ASPECTS}
    return {
        "title": row["title"],
        ABSTRACT: said.pop(ABSTRACT),
        "sections": [{"title": title.capitalize(), "text": text} for title, text in said.items()],
        **aspects,
        "experts": " ".join(aspects.values()),
    }
