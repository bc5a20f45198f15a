"""Generation until a target is reached: so many valid, unique and novel molecules, or as many as a budget brings.

The samples of a model with certain parameters and prompts are one endless stream, in which a row is a sample: its
seed derives from the job's seed and its row. One job and one corpus stand for the stream, and are found again by a
name made of all that decides its samples. A target is a question to it: rows are added round by round until the first
so many of them hold the answer, then the corpus is sealed. So no sample is drawn twice, whatever breaks off; a larger
target, a larger budget or another reference goes on with the samples that are there; and the answer depends on none
of this.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from producer import results
from producer.display import Standing
from producer.loading import RollingHash, extend, recognize, seal
from producer.submission import choose_model, merge_parameters
from producer.watching import View, follow, settled
from producer.yields import FAILED, INVALID, Keys, Reference, Yield, key_of, next_round, tally
from schemas.database import Database
from schemas.errors import Conflict, CorpusChanged, UsageError
from schemas.items import ContentKind, Prompt, Record, Rejected, Task
from schemas.ledger import corpora, jobs, progress
from schemas.ledger.corpora import Corpus
from schemas.ledger.progress import JobProgress
from schemas.registry import Registry
from schemas.revision import pin
from schemas.states import JobState, Priority

if TYPE_CHECKING:
    import pandas as pd

BUDGET = 10  # samples a molecule of the target, where the user names no budget

_PAGE = 50_000  # outcomes read at a time
_SEALED_SECONDS = 5.0  # a dispatcher ends a sealed job within one

Round = Callable[[Yield, int, int], None]
"""Told before each round: the yield so far, the samples drawn so far, and how many are drawn next."""


@dataclass(frozen=True, slots=True)
class Generated:
    """What a target has come to: the molecules that count, and how many samples they took.

    `drawn` counts all samples of the stream, those past `found.end` too; `failures` its failed rows by reason.
    """

    job: int
    budget: int
    drawn: int
    found: Yield
    failures: dict[str, int]
    database: Database = field(repr=False)

    def __len__(self) -> int:
        return len(self.found.kept)

    @property
    def shortfall(self) -> str | None:
        """Why the target was not reached, in one line; None where it was."""
        if self.found.reached:
            return None
        lost = ", ".join(f"{count:,} {why}" for why, count in self.found.losses().items())
        codes = ", ".join(f"{count:,} {code}" for code, count in self.failures.items())
        spent = f"the budget of {self.budget:,} samples is spent"
        if not self.found.sampled:
            spent = f"every one of {self.found.end:,} samples failed"
        return f"{len(self.found.kept):,} of {self.found.target:,}: {spent}; {lost}" + (f" ({codes})" if codes else "")

    def rows(self) -> Iterator[dict[str, Any]]:
        """The molecules that count, in the order in which they were first drawn; keys as `producer.results.rows`."""
        kept = iter(self.found.kept.tolist())
        wanted = next(kept, None)
        for row, values in enumerate(results.rows(self.database, self.job)):
            if wanted is None:
                return
            if row == wanted:
                yield values
                wanted = next(kept, None)

    def frame(self) -> pd.DataFrame:
        """The rows as a pandas data frame, all of it held in memory."""
        import pandas as pd

        return pd.DataFrame(list(self.rows()), columns=results.columns(self.database, self.job))

    def report(self) -> dict[str, Any]:
        """The counts, each share with numerator and denominator; `rows` is how many of the job's rows were counted."""
        found = self.found
        return {
            "job": self.job,
            "target": found.target,
            "budget": self.budget,
            "reached": found.reached,
            "shortfall": self.shortfall,
            "rows": found.end,
            "sampled": found.sampled,
            "failed": found.failed,
            "drawn": self.drawn,
            **{name: count.to_json() for name, count in found.counts().items()},
        }


def generate(
    database: Database,
    registry: Registry,
    *,
    target: int,
    budget: int | None = None,
    known: Reference | None = None,
    model: str | None = None,
    parameters: dict[str, Any] | None = None,
    prompts: Sequence[Record] = (),
    priority: Priority = Priority.NORMAL,
    view: View | None = None,
    on_round: Round | None = None,
) -> Generated:
    """Draw samples until `target` of them are valid, unique and novel molecules, or `budget` samples are drawn.

    Unique and novel by RDKit's canonical SMILES; novel are molecules that `known` does not hold, all without one.
    Prompts take turns, row after row; without any each sample starts from the start token. `budget` is ten times the
    target if none is given. `view` follows each round as `follow` does. Ended at any moment, the same call goes on.

    Raises:
        UsageError: target, budget, a prompt, or a parameter is wrong, or the model is of another task.
        NotFound: there is no such model, or the job was deleted meanwhile.
        Conflict: the job was cancelled, or a fault has paused it; the message says which.
        CorpusChanged: another source was loaded under the name of the stream's corpus.
        ConfigurationError, ModelUnavailable: the model cannot be pinned.
        ServerUnavailable: PostgreSQL is away; call again to continue.
    """
    budget = BUDGET * target if budget is None else budget
    if not 1 <= target <= budget:
        raise UsageError(f"target {target:,}, budget {budget:,}: give a target from 1 up to the budget")
    stream = _Stream.open(database, registry, model, parameters or {}, prompts, priority)
    keys = np.zeros(0, np.uint64)
    while True:
        rows = stream.wait(view or _unseen)
        keys = np.concatenate([keys, stream.read(len(keys), rows)])
        found = tally(keys[:budget], target, known)
        more = 0 if found.reached else next_round(found, rows, budget)
        if not more or (rows and not found.sampled):
            break
        if on_round:
            on_round(found, rows, more)
        stream.draw(rows, more)
    stream.seal(rows)
    with database.transaction() as connection:
        failures = progress.failures_by_code(connection, stream.job, Task.GENERATE) if found.failed else {}
    return Generated(stream.job, budget, rows, found, failures, database)


class _Stream:
    """The job whose rows are the samples, and the corpus that grows under it."""

    def __init__(self, database: Database, job: int, corpus: str, prompts: Sequence[Record]) -> None:
        self.job = job
        self._database = database
        self._corpus = corpus
        self._prompts = prompts
        self._records = cycle(prompts)  # stands behind the rows that `_rolling` is the hash of
        self._rolling = RollingHash()

    @staticmethod
    def open(
        database: Database,
        registry: Registry,
        model: str | None,
        parameters: dict[str, Any],
        prompts: Sequence[Record],
        priority: Priority,
    ) -> _Stream:
        """Find the stream of a model, parameters and prompts, or begin it."""
        entry = choose_model(registry, Task.GENERATE, model)
        if "samples" in parameters:
            raise UsageError("a target draws one sample a row, as many rows as it takes; leave samples out")
        merged = merge_parameters(entry, parameters)
        if "samples" in merged:
            merged["samples"] = 1
        prompts = list(prompts) or [Record(Prompt())]
        given = [[_text_of(prompt), prompt.custom_id, prompt.columns] for prompt in prompts]
        pinned = pin(entry)
        decides = json.dumps([entry.name, pinned.revision, merged, given], sort_keys=True)
        digits = sha256(decides.encode()).hexdigest()[:8]
        corpus = corpora.ensure(database, f"target-{entry.name}-{digits}", ContentKind.PROMPT, "generation to a target")
        pinned_model = jobs.pin_model(database, pinned.entry, pinned.revision, pinned.need)
        job, _ = jobs.open_job(database, corpus.id, pinned_model, pinned.entry, merged, priority=priority)
        return _Stream(database, job, corpus.name, prompts)

    def wait(self, view: View) -> int:
        """Wait until each row so far has its outcome; returns how many rows there are.

        Raises:
            Conflict: the job was cancelled, or a fault has paused it.
        """

        def drawn(job: JobProgress) -> bool:
            return settled(job) or not job.outstanding

        standing = progress.of_job(self._database, self.job)
        if not drawn(standing):
            (standing,) = follow(self._database, [self.job], view, until=drawn)
        if standing.state is JobState.CANCELLED:
            raise Conflict(f"job {self.job} was cancelled; the same call begins another over the same samples")
        if standing.outstanding:
            raise Conflict(f"job {self.job} is paused: {standing.reason}; mend it, 'sciqueue resume {self.job}', go on")
        return standing.total

    def read(self, first: int, end: int) -> Keys:
        """The keys of the rows from `first` up to `end`, which is not among them."""
        keys = np.full(end - first, FAILED, np.uint64)
        for begin in range(first, end, _PAGE):
            with self._database.transaction() as connection:
                outcomes = connection.execute(
                    "SELECT row, CASE WHEN valid THEN canonical END AS canonical FROM generations "
                    "WHERE job_id = %s AND row >= %s AND row < %s AND error_code IS NULL",
                    (self.job, begin, min(begin + _PAGE, end)),
                ).fetchall()
            for outcome in outcomes:
                canonical = outcome["canonical"]
                keys[outcome["row"] - first] = INVALID if canonical is None else key_of(canonical)
        return keys

    def draw(self, rows: int, more: int) -> None:
        """Add so many rows behind the first `rows`, unless another call has just added some."""
        corpus = self._find()
        if corpus.loaded != rows:
            return
        if corpus.sealed:
            jobs.reopen(self._database, self.job)
            corpus = self._find()
        if self._rolling.digest() != corpus.digest:
            self._records = cycle(self._prompts)
            self._rolling = recognize(corpus, self._records)
        with suppress(CorpusChanged):
            extend(self._database, corpus, islice(self._records, more), self._rolling)

    def seal(self, rows: int) -> None:
        """End the job, unless another call goes on with it; returns when it has ended, if a dispatcher is there."""
        corpus = self._find()
        if corpus.loaded != rows:
            return
        try:
            seal(self._database, corpus)
        except CorpusChanged:
            return
        deadline = time.monotonic() + _SEALED_SECONDS
        while not progress.of_job(self._database, self.job).ended and time.monotonic() < deadline:
            time.sleep(0.05)

    def _find(self) -> Corpus:
        corpus = corpora.find(self._database, self._corpus)
        if corpus is None:
            raise Conflict(
                f"the corpus {self._corpus} of job {self.job} was deleted meanwhile; call again to begin anew"
            )
        return corpus


def _text_of(prompt: Record) -> str:
    match prompt.content:
        case Prompt(smiles):
            return smiles
        case Rejected(_, message, excerpt):
            raise UsageError(f"prompt '{excerpt}': {message}")
        case other:
            raise UsageError(f"a {type(other).__name__} is no prompt")


def _unseen(standings: Sequence[Standing], notice: str | None) -> None:
    """Nobody is looking."""
