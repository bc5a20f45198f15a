"""Submitting: choose and pin the model, name the corpus, open the job, and load while the job already runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from hashlib import sha256
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

from producer.loading import RollingHash, load, recognize
from producer.readers.iterables import records_from
from producer.readers.open import read
from producer.readers.options import ReadOptions
from producer.readers.sources import STANDARD_INPUT, describe_source, source_fingerprint
from schemas.database import Database
from schemas.errors import UsageError
from schemas.items import ContentKind, Prompt, Record, Task
from schemas.ledger import corpora, jobs
from schemas.ledger.corpora import Corpus
from schemas.registry import ModelEntry, Registry
from schemas.revision import pin
from schemas.states import Priority

Source = str | Path | Iterable[Any]

_DEFAULTS = ReadOptions()


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of a submission. `new_job` is False where a job with the same work was there already."""

    job: int
    new_job: bool
    corpus: Corpus


@dataclass(frozen=True, slots=True)
class _NamedSource:
    """A source under the name of its corpus. `trusted`: the name holds a fingerprint, so a sealed corpus is it."""

    name: str
    described: str
    records: Iterator[Record]
    trusted: bool


def submit(
    database: Database,
    registry: Registry,
    source: Source | None,
    *,
    task: Task,
    model: str | None = None,
    parameters: dict[str, Any] | None = None,
    name: str | None = None,
    count: int | None = None,
    priority: Priority = Priority.NORMAL,
    batch_rows: int | None = None,
    again: bool = False,
    options: ReadOptions = _DEFAULTS,
    on_progress: Callable[[Corpus], None] | None = None,
) -> Submission:
    """Load a source as a corpus and have a model work on it; returns when the whole source is loaded.

    `source` is a file or folder, `-` for standard input, or an iterable of objects as `records_from` takes them.
    For generation without prompts give `count`, the number of rows, instead. `parameters` go over the model's own.
    Without a `name` a file's corpus is named after the file and its fingerprint. Submitting the same again continues
    what was broken off, and ends at once if nothing is left to load; a corpus serves any number of jobs.

    Raises:
        UsageError: the model is of another task, a parameter is unknown, a name is needed, or the source cannot be
            read.
        NotFound: there is no such model or file.
        CorpusChanged: the corpus of that name was loaded from other rows.
        Conflict: the corpus of that name holds another kind of content.
        ConfigurationError, ModelUnavailable: the model cannot be pinned.
        ServerUnavailable: PostgreSQL is away; submit again to continue.
    """
    entry = choose_model(registry, task, model)
    merged = merge_parameters(entry, parameters or {})
    samples = samples_of(task, merged)
    named = _named(source, task, name, count, options)
    pinned = pin(entry)

    corpus = corpora.find(database, named.name)
    rolling: RollingHash | None = None
    records: Iterator[Record] = iter(())
    if corpus is None or not (corpus.sealed and named.trusted):
        records = named.records
        # Nothing is made for a source that cannot even be begun, and no job opened on rows that may be others.
        records = chain(list(islice(records, 1)), records)
        corpus = corpora.ensure(database, named.name, task.content, named.described)
        rolling = recognize(corpus, records)
    job, new_job = jobs.open_job(
        database,
        corpus.id,
        jobs.pin_model(database, pinned.entry, pinned.revision, pinned.need),
        pinned.entry,
        merged,
        samples=samples,
        priority=priority,
        batch_rows=batch_rows,
        again=again,
    )
    if rolling is not None:
        corpus = load(database, corpus, records, rolling=rolling, on_chunk=on_progress)
    return Submission(job, new_job, corpus)


def choose_model(registry: Registry, task: Task, model: str | None) -> ModelEntry:
    """The model of that name, or the task's default.

    Raises:
        NotFound: there is none.
        UsageError: it is of another task.
    """
    if task is Task.TRAIN:
        raise UsageError("a training run is submitted by 'sciqueue train … --queue'")
    entry = registry.default_for(task) if model is None else registry.get(model)
    if entry.task is not task:
        raise UsageError(f"model '{entry.name}' is for the task {entry.task.value}, not {task.value}")
    return entry


def merge_parameters(entry: ModelEntry, given: dict[str, Any]) -> dict[str, Any]:
    """A job's parameters: the model's defaults, and what was given over them.

    Raises:
        UsageError: the model has no such parameter, or a value is of another kind than its default.
    """
    known = entry.parameters
    for name, value in given.items():
        if name not in known:
            there_are = ", ".join(f"{key}={default}" for key, default in sorted(known.items())) or "none"
            raise UsageError(f"model '{entry.name}' has no parameter '{name}'; there are: {there_are}")
        if _kind(value) != _kind(known[name]):
            raise UsageError(f"parameter '{name}' is {_kind(known[name])}, as in {name}={known[name]}, not {value!r}")
    return {**known, **given}


def _kind(value: object) -> str:
    """The kind of a parameter, in the words of messages. A whole number will do where a fraction may stand."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list | tuple) else "a table"


def samples_of(task: Task, parameters: dict[str, Any]) -> int:
    """Outcomes a row.

    Raises:
        UsageError: the parameter `samples` is no such number.
    """
    if task is not Task.GENERATE:
        return 1
    samples = parameters.get("samples", 1)
    if not isinstance(samples, int) or samples < 1:
        raise UsageError(f"samples={samples!r}: a whole number of at least 1 is needed")
    return samples


def _named(
    source: Source | None, task: Task, name: str | None, count: int | None, options: ReadOptions
) -> _NamedSource:
    """Give the source its corpus's name. Nothing is read yet."""
    if count is not None:
        if task is not Task.GENERATE or source is not None:
            raise UsageError("a count stands in place of a source, for generation only")
        if count < 1:
            raise UsageError(f"count {count}: at least 1 is needed")
        return _NamedSource(name or f"free-{count}", "free generation", repeat(Record(Prompt()), count), trusted=False)
    if source is None:
        raise UsageError("name a source" + (", or give a count" if task is Task.GENERATE else ""))
    kind = task.content
    if not isinstance(source, str | Path):
        if name is None:
            raise UsageError("rows from an iterable need a name, so that loading them can be continued")
        return _NamedSource(name, "python", records_from(source, kind, options), trusted=False)
    fingerprint = source_fingerprint(source, kind, options)
    records = read(source, kind=kind, options=options)
    described = describe_source(source)
    if name is not None:
        return _NamedSource(name, described, records, trusted=False)
    if fingerprint is None:
        what = "standard input" if str(source) == STANDARD_INPUT else str(source)
        raise UsageError(f"{what} needs a name (--name), so that loading it can be continued")
    return _NamedSource(_name_of(described, fingerprint, kind, options), described, records, trusted=True)


def _name_of(described: str, fingerprint: str, kind: ContentKind, options: ReadOptions) -> str:
    """`<stem>-<8 digits>`; the digits stand for the file as it is now and for how it is read."""
    asked = [
        (field.name, getattr(options, field.name))
        for field in fields(options)
        if getattr(options, field.name) != field.default  # so that options to come leave today's names as they are
    ]
    stem = Path(described).name.partition(".")[0]
    digits = sha256(f"{fingerprint} {kind.value} {asked!r}".encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', stem).strip('-') or kind.value}-{digits}"
