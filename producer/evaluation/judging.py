"""Judging a job, whatever its task, and keeping the evaluation."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

from producer.evaluation import generation, properties, store, texts
from producer.evaluation.labels import matched
from producer.evaluation.metric import Evaluation, Report
from producer.evaluation.molecules import Progress
from producer.evaluation.outcomes import Finished, Row, column_names, finished, outcomes
from producer.evaluation.reference import reference
from producer.readers.open import read
from schemas.database import Database
from schemas.errors import UsageError
from schemas.items import ContentKind, Molecule, Task

_PACKAGES = ("sciqueue", "rdkit", "numpy", "scipy", "scikit-learn", "molsets", "fcd-torch", "rouge-score", "sacrebleu")


@dataclass(frozen=True)
class Options:
    """What an evaluation goes by; each task reads its own.

    `reference`: of generation, the molecules that are not novel (default `moses:train`); of summaries, the column of
    references (default `abstract`, the papers' own). `tests`: sets that generated molecules should be like. `samples`:
    at most so many samples count, the first. `labels`: the label column of each endpoint; none: those named alike.
    `baseline_train`: a file of molecules with the same label columns; None: the corpus is split by scaffold.
    """

    reference: str | None = None
    tests: tuple[str, ...] = ("moses:test",)
    samples: int = 30_000
    fcd: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    baseline_train: Path | None = None


def evaluate(
    database: Database, job: int, options: Options, cache: Path, progress: Progress = lambda *_: None
) -> Evaluation:
    """Judge a finished job by its committed outcomes, and store what was found.

    Folder `cache` keeps what is computed of reference sets. `progress` gets what is being done and how far it is.

    Raises:
        NotFound: no such job, or file.  Conflict: the job is not done.
        UsageError: there is nothing to judge it by; the message lists the columns there are.
        ConfigurationError: a package is missing.
    """
    judged = finished(database, job)
    rows = outcomes(database, judged.progress)
    match judged.progress.task:
        case Task.GENERATE:
            report = _generation(rows, options, cache, progress)
        case Task.PREDICT:
            report = _properties(database, rows, judged, options, progress)
        case Task.SUMMARIZE:
            report = _texts(rows, judged, options, progress)
        case Task.TRAIN:
            raise UsageError("a training run is judged by its card; submit a job with its model, and evaluate that")
    return store.add(database, judged, report, _versions())


def _generation(rows: Iterator[Row], options: Options, cache: Path, progress: Progress) -> Report:
    known = reference(options.reference or "moses:train", cache)
    tests = [reference(name, cache) for name in options.tests]
    counts: Counter[str] = Counter()
    smiles = []
    for row in islice(rows, options.samples):
        counts["rows"] += 1
        if row["error_code"] is None:
            smiles.append(row["smiles"])
        else:
            counts["failed"] += 1
    if not smiles:
        raise UsageError("the job has no samples: every row failed ('sciqueue status' says why)")
    metrics = generation.judge(smiles, known, tests, fcd=options.fcd, progress=progress)
    sets = {one.name: one.digest for one in (known, *tests)}
    return Report(
        metrics=metrics,
        counts=dict(counts),
        parameters={"reference": known.name, "tests": list(options.tests), "samples": options.samples, "sha256": sets},
    )


def _properties(
    database: Database, rows: Iterator[Row], judged: Finished, options: Options, progress: Progress
) -> Report:
    endpoints = judged.entry.endpoints
    columns = matched(endpoints, column_names(database, judged.progress), options.labels)
    counts: Counter[str] = Counter()
    found = properties.labelled(rows, endpoints, columns, counts)
    labelled = len(found.smiles)
    if options.baseline_train is not None:
        train = properties.training_rows(_table(options.baseline_train), columns)
        test = properties.without(found, train)
        counts["in the training set"] = labelled - len(test.smiles)
    else:
        train, test = properties.split_by_scaffold(found)
        counts["not in the test part"] = labelled - len(test.smiles)
    counts["tested"] = len(test.smiles)
    return Report(
        metrics=properties.judge(list(columns), train, test, progress),
        counts=dict(counts),
        parameters={
            "labels": {endpoint.name: column for endpoint, column in columns.items()},
            "split": str(options.baseline_train) if options.baseline_train else "scaffold 80/10/10, judged on the last",
            "training molecules": len(train.smiles),
        },
        notices=_known_to(judged),
    )


def _texts(rows: Iterator[Row], judged: Finished, options: Options, progress: Progress) -> Report:
    counts: Counter[str] = Counter()
    column = options.reference or texts.ABSTRACTS
    found = texts.pairs(rows, column, counts)
    notices = _known_to(judged)
    if column == texts.ABSTRACTS and judged.progress.parameters.get("include_abstract"):
        notices.append(
            "the model read the abstracts that it is judged by (include_abstract): these figures are no test"
        )
    return Report(
        metrics=texts.judge(found, progress), counts=dict(counts), parameters={"reference": column}, notices=notices
    )


def _known_to(judged: Finished) -> list[str]:
    """What must be said of data that the model has learnt from."""
    learnt = judged.entry.trained_on
    if not learnt:
        return []
    where = f"{judged.progress.corpus} {judged.source}".casefold()
    here = [name for name in learnt if name.casefold() in where]
    if here:
        what = f"{judged.entry.name} was trained on {', '.join(here)}, which this corpus is by its name"
        return [f"{what}: these figures are no test"]
    return [f"{judged.entry.name} was trained on {', '.join(learnt)}: figures on rows of these are no test of it"]


def _table(file: Path) -> Iterator[dict[str, Any]]:
    """A file of molecules as dicts of its columns, each with `smiles`."""
    for record in read(file, kind=ContentKind.MOLECULE):
        if isinstance(record.content, Molecule):
            yield {**(record.columns or {}), "smiles": record.content.smiles}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
