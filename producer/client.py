"""The Python client: submit from a notebook or a script, watch, and take the results as rows or as a data frame."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import SecretStr

from producer import results
from producer.evaluation.judging import Options, evaluate
from producer.evaluation.metric import Evaluation
from producer.evaluation.reference import cache_of
from producer.readers.iterables import records_from
from producer.readers.options import ReadOptions
from producer.submission import Source, submit
from schemas.database import Database
from schemas.endpoints import open_database
from schemas.errors import Conflict, UsageError
from schemas.items import ContentKind, Task
from schemas.ledger import jobs, progress
from schemas.ledger.corpora import Corpus
from schemas.ledger.progress import JobProgress
from schemas.registry import load_registry
from schemas.settings import Settings, load_settings
from schemas.states import JobState, Priority

if TYPE_CHECKING:
    import pandas as pd

    from producer.generating import Generated, Round

_DEFAULTS = ReadOptions()

Word = TypeVar("Word", bound=StrEnum)


class Client:
    """A connection to sciqueue's ledger; workers and the dispatcher run elsewhere (`sciqueue up`).

    >>> from producer.client import Client
    >>> with Client() as client:
    ...     job = client.submit("molecules.csv", task="predict")
    ...     job.wait()
    ...     table = job.frame()

    Without `database_url` the server is the one that `SCIQUEUE_DATABASE_URL` names, or the private one that
    `sciqueue up` started. Close it when done, or use it as a context.

    Raises:
        ServerUnavailable: PostgreSQL does not answer.
        ConfigurationError: a setting or the registry cannot be used, or the database's tables are not up to date.
    """

    def __init__(self, database_url: str | None = None, settings: Settings | None = None) -> None:
        settings = settings or load_settings()
        if database_url is not None:
            settings = settings.model_copy(update={"database_url": SecretStr(database_url)})
        self._registry = load_registry(*settings.registry_files)
        self._known_folder = settings.known_dir
        self._database = open_database(settings)
        self._references = cache_of(settings)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Jobs go on."""
        self._database.close()

    def submit(
        self,
        source: Source | pd.DataFrame | None = None,
        *,
        task: Task | str,
        model: str | None = None,
        name: str | None = None,
        count: int | None = None,
        priority: Priority | str = Priority.NORMAL,
        batch_rows: int | None = None,
        again: bool = False,
        options: ReadOptions = _DEFAULTS,
        on_progress: Callable[[Corpus], None] | None = None,
        **parameters: Any,
    ) -> Job:
        """Load a source and have a model work on it; returns when all of it is loaded, while the job runs already.

        >>> client.submit("papers/", task="summarize", sentences=5)
        >>> client.submit(["CCO", "c1ccccc1"], task="predict", name="two")
        >>> client.submit(table, task="predict", name="screen-7")           # a data frame with a column `smiles`
        >>> client.submit(task="generate", count=10_000, seed=7)

        `source` is a file, a folder, a data frame, or an iterable of SMILES, texts, dicts or (id, text) pairs. The
        same source, model and parameters give the same job, unless `again` is set. After an interruption submit the
        same again to continue; rows from an iterable or a frame can be continued only under a `name` of yours.

        Raises: as `producer.submission.submit`.
        """
        rows = _rows_of(source)
        if name is None and rows is not None and not isinstance(rows, str | Path):
            name = f"unnamed-{uuid.uuid4().hex[:12]}"
        submission = submit(
            self._database,
            self._registry,
            rows,
            task=_member(Task, task, "task"),
            model=model,
            parameters=parameters,
            name=name,
            count=count,
            priority=_member(Priority, priority, "priority"),
            batch_rows=batch_rows,
            again=again,
            options=options,
            on_progress=on_progress,
        )
        return Job(self._database, submission.job)

    def generate(
        self,
        target: int,
        *,
        budget: int | None = None,
        novel_to: str | Path | Iterable[str] | None = None,
        model: str | None = None,
        prompts: Iterable[Any] = (),
        priority: Priority | str = Priority.NORMAL,
        on_round: Round | None = None,
        **parameters: Any,
    ) -> Generated:
        """Generate until `target` samples are valid, unique and novel molecules, or `budget` samples are drawn.

        >>> found = client.generate(10_000, budget=30_000, novel_to="train.smi", temperature=1.1)
        >>> found.shortfall                             # why there are fewer, or None
        >>> found.report()["Valid"]                     # {'share': …, 'count': …, 'of': …, 'of_what': 'samples'}
        >>> table = found.frame()

        Returns when it is done; ended before, the same call goes on where it was. Prompts are SMILES texts that the
        samples begin with, in turn. The rest as `producer.generating.generate`.

        Raises: as `producer.generating.generate`, and as `producer.novelty.known_molecules`.
        """
        # numpy, which no other call needs.
        from producer.generating import generate
        from producer.novelty import known_molecules

        known = None if novel_to is None else known_molecules(novel_to, self._known_folder)
        return generate(
            self._database,
            self._registry,
            target=target,
            budget=budget,
            known=known,
            model=model,
            parameters=parameters,
            prompts=list(records_from(prompts, ContentKind.PROMPT)),
            priority=_member(Priority, priority, "priority"),
            on_round=on_round,
        )

    def job(self, number: int) -> Job:
        """The job of that number.

        Raises:
            NotFound: there is none.
        """
        progress.of_job(self._database, number)
        return Job(self._database, number)

    def evaluate(self, job: Job | int, **options: Any) -> Evaluation:
        """Judge a finished job and store what was found; `options` are those of `producer.evaluation.judging.Options`.

        >>> client.evaluate(job, labels={"NR-AhR": "ahr_active"}).metrics
        >>> client.evaluate(7, reference="train.smi", tests=("held-out.smi",))

        Raises: as `producer.evaluation.judging.evaluate`.
        """
        number = job.id if isinstance(job, Job) else job
        return evaluate(self._database, number, Options(**options), self._references)

    def jobs(self, *, limit: int = 50) -> list[Job]:
        """The newest jobs, newest first."""
        return [Job(self._database, known.id) for known in progress.of_jobs(self._database, limit=limit)]


class Job:
    """A job of the ledger. Every method asks the ledger anew, so any number of these may stand for the same job."""

    def __init__(self, database: Database, number: int) -> None:
        self._database = database
        self.id = number

    def __repr__(self) -> str:
        return f"Job({self.id})"

    def progress(self) -> JobProgress:
        """How the job stands: its state, and counts of outcomes."""
        return progress.of_job(self._database, self.id)

    def wait(self, timeout: float | None = None, poll: float = 0.5) -> JobProgress:
        """Wait until the job has ended, asking every `poll` seconds; returns how it stands then.

        Raises:
            TimeoutError: it has not ended within `timeout` seconds. It goes on.
            Conflict: it is paused for a reason that somebody must mend first; the message says which.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            now = self.progress()
            if now.ended:
                return now
            if now.state is JobState.PAUSED and now.reason:
                raise Conflict(f"job {self.id} is paused: {now.reason}; mend it and resume the job")
            remaining = poll if deadline is None else min(poll, deadline - time.monotonic())
            if remaining <= 0:
                raise TimeoutError(f"job {self.id} has {now.outstanding} outcomes outstanding after {timeout} s")
            time.sleep(remaining)

    def rows(self, *, failures: bool = True, values_only: bool = False) -> Iterator[dict[str, Any]]:
        """The job's rows with their outcomes, in the order of the input, finished or not; as `producer.results.rows`.

        >>> for row in job.rows():
        ...     print(row["smiles"], row["status"])
        """
        return results.rows(self._database, self.id, failures=failures, values_only=values_only)

    def frame(self, *, failures: bool = True, values_only: bool = False) -> pd.DataFrame:
        """The rows as a pandas data frame: one row an outcome, one column a key. All of it is held in memory.

        >>> job.frame(values_only=True).groupby("status").size()
        """
        import pandas as pd

        rows = list(self.rows(failures=failures, values_only=values_only))
        header = list(rows[0]) if rows else results.columns(self._database, self.id, values_only=values_only)
        return pd.DataFrame(rows, columns=header)

    def pause(self) -> None:
        """Hold back what has not begun.

        Raises:
            Conflict: the job has ended.
        """
        jobs.pause(self._database, self.id)

    def resume(self) -> None:
        """Let a paused job go on.

        Raises:
            Conflict: the job has ended.
        """
        jobs.resume(self._database, self.id)

    def cancel(self) -> None:
        """End the job now. What has been computed stays.

        Raises:
            Conflict: the job is done.
        """
        jobs.cancel(self._database, self.id)

    def retry(self, *codes: str) -> int:
        """Compute a done job's failures again, or those with one of these error codes; returns how many outcomes.

        Raises:
            Conflict: the job is not done.
        """
        return jobs.retry(self._database, self.id, codes)


def _rows_of(source: Any) -> Source | None:
    """A data frame's rows as dicts, since iterating it gives the names of its columns; all else as it is."""
    if hasattr(source, "itertuples"):
        names = [str(name) for name in source.columns]
        return (dict(zip(names, row, strict=True)) for row in source.itertuples(index=False, name=None))
    given: Source | None = source
    return given


def _member(kind: type[Word], given: str, what: str) -> Word:
    """The member of an enumeration that a word names."""
    try:
        return kind(given)
    except ValueError:
        raise UsageError(f"no {what} '{given}'; there are: {', '.join(kind)}") from None
