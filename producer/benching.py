"""Has a model measured on rows of a corpus, by a process of the workers' own, and foretells the whole corpus by it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from random import Random
from typing import TextIO

from pydantic import ValidationError

from producer.demo_corpora import aclsum_papers, approved_drugs
from producer.readers.open import read
from producer.readers.options import ReadOptions
from schemas.errors import ConfigurationError, ModelUnavailable, SciqueueError, UsageError
from schemas.items import Content, Molecule, Prompt, Record, Rejected, Task
from schemas.measured import Measured, Order, to_line


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of a corpus, drawn without favour, and what is known of all of it. `work` is in characters; see `work_of`.

    `built_in` names the data where the user gave none.
    """

    contents: Sequence[Content | Rejected]
    rows: int
    work: int
    built_in: str | None = None


def draw(sources: Sequence[str | Path], task: Task, rows: int, options: ReadOptions) -> Sample:
    """Read whole sources, and keep `rows` of their rows (all, if they have no more), the same ones each time.

    Raises:
        UsageError, NotFound: a source cannot be read, or there are no rows.
    """
    kept: list[tuple[int, Content | Rejected]] = []
    chance = Random(0)  # noqa: S311 - no secret; the same rows each time
    count = work = 0
    for record in chain.from_iterable(read(source, kind=task.content, options=options) for source in sources):
        work += work_of(record.content)
        count += 1
        # Reservoir sampling (Vitter's algorithm R): each row is kept with the same chance, in one pass.
        if len(kept) < rows:
            kept.append((count, record.content))
        elif (place := chance.randrange(count)) < rows:
            kept[place] = (count, record.content)
    if not kept:
        raise UsageError("there are no rows to measure with")
    kept.sort(key=lambda one: one[0])
    return Sample([content for _, content in kept], count, work)


def built_in(task: Task, rows: int) -> Sample:
    """Rows to measure with where the user has none: approved drugs, papers, or empty prompts.

    Raises:
        UsageError: what they come from is not installed.
    """
    records: Iterable[Record]
    match task:
        case Task.PREDICT:
            records, name = approved_drugs(), "approved drugs"
        case Task.SUMMARIZE:
            records, name = aclsum_papers(), "papers of ACLSum, introductions and conclusions"
        case Task.GENERATE:
            records, name = repeat(Record(Prompt()), rows), "empty prompts"
    try:
        contents = [record.content for record in islice(records, rows)]
    except ConfigurationError as fault:
        raise UsageError("no data to measure with is installed here: give a corpus of yours (--input)") from fault
    return Sample(contents, len(contents), sum(map(work_of, contents)), name)


def work_of(content: Content | Rejected) -> int:
    """What a row costs, in characters: a molecule's or a paper's grow with their length, a prompt's do not."""
    if isinstance(content, Rejected):
        return 0
    if isinstance(content, Prompt):
        return 1
    if isinstance(content, Molecule):
        return len(content.smiles)
    return sum(len(paragraph) for section in content.sections for paragraph in section.paragraphs)


def forecast(measured: Measured, sample: Sample, rows: int | None = None) -> float:
    """Seconds for all rows of the sample's corpus, or for so many of its kind, on one such device.

    The sample's time is scaled by work rather than by rows: that a few of the longest rows are in the sample by chance,
    or are not, would else count as if the whole corpus were so.
    """
    drawn = sum(map(work_of, sample.contents)) or 1
    seconds = measured.rows / measured.rows_per_second
    whole = seconds * sample.work / drawn
    return whole if rows is None else whole / sample.rows * rows


def measure(order: Order, sample: Sample) -> Measured:
    """Have `workers.bench` carry out the order; its progress goes to standard error.

    Raises:
        SciqueueError: what it says is wrong with the order or the model.
        ModelUnavailable: it died without a word.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.bench"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None  # noqa: S101
    lines = chain([order.model_dump_json()], (to_line(row, content) for row, content in enumerate(sample.contents)))
    threading.Thread(target=_feed, args=(process.stdin, lines), daemon=True).start()
    said = ""
    for line in process.stderr:
        said = line if line.startswith("sciqueue: ") else said
        if not said:
            sys.stderr.write(line)
    printed = process.stdout.read()
    status = process.wait()
    if status > 0 and said:
        raise _as_said(status, said)
    try:
        return Measured.model_validate_json(printed)
    except ValidationError as fault:
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        raise ModelUnavailable(f"the process that measured '{order.entry.name}' ended with {how}") from fault


def _feed(stdin: TextIO, lines: Iterable[str]) -> None:
    with suppress(BrokenPipeError), stdin:
        for line in lines:
            stdin.write(line + "\n")


def _as_said(status: int, said: str) -> SciqueueError:
    """The fault that the process ended with, as one of this process."""
    fault = SciqueueError(said.removeprefix("sciqueue: ").strip())
    fault.exit_code = status
    return fault
