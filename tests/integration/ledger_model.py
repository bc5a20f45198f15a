"""What the ledger's tests know of a ledger: its facts as they stand in PostgreSQL, and the laws they obey."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from schemas.database import Database
from schemas.errors import RowError
from schemas.items import ContentKind, Molecule, Prompt, Record, Rejected, Task
from schemas.ledger import claims, corpora, cuts, dispatches, jobs
from schemas.ledger.claims import ClaimedBatch
from schemas.ledger.dispatches import Lane
from schemas.ledger.leases import WorkerInfo
from schemas.outcomes import Failed, Generation, Outcome, Prediction
from schemas.registry import Endpoint, EngineKind, Limits, ModelEntry
from schemas.states import ALLOWED, BatchState

PENDING, QUEUED, RUNNING = BatchState.PENDING, BatchState.QUEUED, BatchState.RUNNING
DONE, FAILED, CANCELLED, SPLIT = BatchState.DONE, BatchState.FAILED, BatchState.CANCELLED, BatchState.SPLIT
LIVE = {PENDING, QUEUED, RUNNING}
Key = tuple[int, int, int]  # job, row, sample


@dataclass(frozen=True)
class Batch:
    """A batch as it stands; `rows` are those it answers for."""

    job: int
    rows: tuple[int, ...]
    state: BatchState
    fence: int
    crashes: int
    lease: int | None
    retry: bool
    parent: int | None


@dataclass(frozen=True)
class Job:
    """A job as it stands, with its corpus's `loaded` and `sealed`, and its tallies summed up."""

    task: Task
    state: str
    samples: int
    cut_row: int
    loaded: int
    sealed: bool
    corpus: int
    succeeded: int
    failed: int
    retrying: int


@dataclass(frozen=True)
class Facts:
    """A whole ledger at one moment. `outcomes` maps to the batch that wrote it and the failure's code, if it is one."""

    jobs: dict[int, Job] = field(default_factory=dict)
    batches: dict[int, Batch] = field(default_factory=dict)
    outcomes: dict[Key, tuple[int, str | None]] = field(default_factory=dict)

    def of(self, job: int) -> dict[int, Batch]:
        """A job's batches."""
        return {id: batch for id, batch in self.batches.items() if batch.job == job}


def observe(database: Database) -> Facts:
    """Read a ledger as it is at one moment, whatever others do meanwhile."""
    with database.transaction() as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        jobs = connection.execute(
            "SELECT j.id, j.task, j.state, j.samples, j.cut_row, c.loaded, c.sealed_at IS NOT NULL AS sealed, "
            "c.id AS corpus, sum(t.succeeded)::int AS succeeded, sum(t.failed)::int AS failed, "
            "sum(t.retrying)::int AS retrying FROM jobs j JOIN corpora c ON c.id = j.corpus_id "
            "JOIN tallies t ON t.job_id = j.id GROUP BY j.id, c.id"
        ).fetchall()
        batches = connection.execute(
            "SELECT id, job_id AS job, first_row, end_row, only_rows, state, fence, crashes, lease_id AS lease, retry, "
            "parent_id AS parent, rows AS said FROM batches"
        ).fetchall()
        outcomes = connection.execute(
            "SELECT job_id, row, 0 AS sample, batch_id, error_code FROM predictions UNION ALL "
            "SELECT job_id, row, sample, batch_id, error_code FROM generations"
        ).fetchall()
    found = {}
    for row in batches:
        first, end, only, said = (row.pop(name) for name in ("first_row", "end_row", "only_rows", "said"))
        rows = tuple(only) if only else tuple(range(first, end))
        assert said == len(rows), "a batch's number of rows is not what it says"
        id = row.pop("id")
        found[id] = Batch(rows=rows, **{**row, "state": BatchState(row["state"])})
    return Facts(
        jobs={row.pop("id"): Job(**{**row, "task": Task(row["task"])}) for row in jobs},
        batches=found,
        outcomes={(o["job_id"], o["row"], o["sample"]): (o["batch_id"], o["error_code"]) for o in outcomes},
    )


def check_change(before: Facts, after: Facts) -> None:
    """The laws of one step: allowed transitions only, rising fences, and nothing that has ended moves again."""
    for id, old in before.batches.items():
        new = after.batches[id]
        assert (new.job, new.rows, new.retry, new.parent) == (old.job, old.rows, old.retry, old.parent)
        assert new.state is old.state or new.state in ALLOWED[old.state], f"batch {id}: {old.state} → {new.state}"
        assert new.fence >= old.fence and new.crashes >= old.crashes
        handed_over = new.state is not old.state and (old.state, new.state) not in {(QUEUED, RUNNING), (RUNNING, DONE)}
        assert new.fence == old.fence + handed_over, f"batch {id}: {old.state} → {new.state} at fence {new.fence}"
        if old.state not in LIVE:
            assert new == old, f"batch {id} had ended"
    for id in after.batches.keys() - before.batches.keys():
        assert after.batches[id].state is PENDING


def check_standing(facts: Facts) -> None:
    """The laws of every moment, for each job."""
    for id, job in facts.jobs.items():
        batches = facts.of(id)
        # Every row that was cut is in exactly one batch; splits pass theirs on, retries come on top.
        lineage = Counter(row for b in batches.values() if not b.retry and b.state is not SPLIT for row in b.rows)
        assert lineage == Counter(range(job.cut_row)), f"job {id}: cut rows are lost or doubled"
        again = Counter(row for b in batches.values() if b.retry and b.state in LIVE for row in b.rows)
        assert all(times == 1 for times in again.values()), f"job {id}: rows are retried twice at once"
        # Rows have outcomes once their batch has ended, and all of them, and no others.
        outcomes = {key: value for key, value in facts.outcomes.items() if key[0] == id}
        ended = {row for b in batches.values() if not b.retry and b.state in {DONE, FAILED} for row in b.rows}
        assert outcomes.keys() == {(id, row, sample) for row in ended for sample in range(job.samples)}
        for key, (writer, _) in outcomes.items():
            assert batches[writer].state in {DONE, FAILED} and key[1] in batches[writer].rows
        failed = sum(code is not None for _, code in outcomes.values())
        assert (job.succeeded, job.failed) == (len(outcomes) - failed, failed), f"job {id}: tallies and outcomes differ"
        retrying = sum(outcomes[id, row, sample][1] is not None for row in again for sample in range(job.samples))
        assert job.retrying == retrying, f"job {id}: {job.retrying} outcomes counted as retrying, not {retrying}"
        live = {b.state for b in batches.values()} & LIVE
        if job.state == "paused":
            assert QUEUED not in live, f"job {id} is paused and has messages under way"
        if job.state in {"done", "cancelled"}:
            assert not live, f"job {id} is {job.state} and has live batches"
        if job.state == "done":
            assert job.sealed and job.cut_row == job.loaded
            assert len(outcomes) == job.loaded * job.samples, f"job {id} is done and rows have no outcome"


def entry_for(task: Task, *, rows: int = 4, size: int = 1000, endpoints: Sequence[str] = ("a", "b")) -> ModelEntry:
    """A model for tests; `rows` and `size` bound its batches."""
    kinds = tuple(Endpoint(name=name, kind="regression", units="eV") for name in endpoints)
    return ModelEntry(
        name=f"test-{task.value}",
        task=task,
        engine=EngineKind.FAKE,
        limits=Limits(batch_rows=rows, batch_size=size, token_budget=1024, max_rows=64, max_tokens=1024),
        endpoints=kinds if task is Task.PREDICT else (),
    )


def worker_info(name: str = "cpu@test", slots: int = 4) -> WorkerInfo:
    """A worker for all tasks."""
    return WorkerInfo(
        worker=name, device="cpu", pid=1, queues=[task.queue for task in Task], slots=slots, versions={"sciqueue": "0"}
    )


def records(kind: ContentKind, count: int, *, rejected: Callable[[int], bool] = lambda row: False) -> list[Record]:
    """Rows of molecules or prompts, some of them rejected."""
    make: type[Molecule] | type[Prompt] = Molecule if kind is ContentKind.MOLECULE else Prompt
    bad = Rejected(RowError.EMPTY_SMILES, "the SMILES is empty")
    return [Record(bad if rejected(row) else make("C" * (1 + row % 5)), f"id-{row}") for row in range(count)]


def load(database: Database, name: str, kind: ContentKind, rows: Sequence[Record], *, seal: bool = True) -> int:
    """A corpus of these rows; returns its id."""
    corpus = corpora.append(database, corpora.ensure(database, name, kind, "test"), rows, b"digest")
    if seal:
        corpora.seal(database, corpus)
    return corpus.id


def answer(
    batch: ClaimedBatch, fails: Callable[[int, int], RowError | None] = lambda row, sample: None
) -> list[Outcome]:
    """What a worker makes of a batch; `fails` names the (row, sample) that fail, and with what."""
    outcomes: list[Outcome] = []
    for item in batch.items:
        for sample in range(batch.samples):
            code = item.content.code if isinstance(item.content, Rejected) else fails(item.row, sample)
            if code is not None:
                outcomes.append(Failed(item.row, code, f"row {item.row} failed", sample))
            elif batch.task is Task.GENERATE:
                outcomes.append(Generation(item.row, sample, "CCO", True, 1.5, 4, seed=item.row * 10 + sample))
            else:
                outcomes.append(Prediction(item.row, "CCO", "KEY", [0.5, None], [None, 0.25], [50.0, None]))
    return outcomes


PREDICTOR = entry_for(Task.PREDICT)
GENERATOR = entry_for(Task.GENERATE)


def molecules(database: Database, count: int = 10, name: str = "corpus") -> int:
    rows = records(ContentKind.MOLECULE, count, rejected=lambda row: row == 3)
    return load(database, name, ContentKind.MOLECULE, rows)


def opened(database: Database, model: int, count: int = 10, *, name: str = "corpus") -> int:
    job, _ = jobs.open_job(database, molecules(database, count, name), model, PREDICTOR, {})
    return job


def generator_job(database: Database, rows: int = 3) -> int:
    """A job with two samples a row; row 1 was rejected while loading."""
    prompts = records(ContentKind.PROMPT, rows, rejected=lambda row: row == 1)
    corpus = load(database, "prompts", ContentKind.PROMPT, prompts)
    model = jobs.pin_model(database, GENERATOR, "r1")
    job, _ = jobs.open_job(database, corpus, model, GENERATOR, {"samples": 2}, samples=2)
    return job


def claim_all(database: Database, lease: int, task: Task = Task.PREDICT) -> list[ClaimedBatch]:
    """Cut, send and claim whatever waits."""
    cuts.cut(database, 99)
    with database.transaction() as connection:
        waiting = dispatches.waiting(connection, Lane(task, None), 99)
    sent = dispatches.dispatch(database, [w.batch for w in waiting], task.queue)
    claimed = [claims.claim(database, handed.message, lease) for handed in sent]
    return [batch for batch in claimed if batch is not None]
