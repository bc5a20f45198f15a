"""The ledger against its laws: any order of loading, losing, crashing, pausing, splitting and retrying.

Each rule predicts from the facts before it exactly what changes; the laws of `ledger_model` are checked after each
step. At the end a healthy worker finishes what is left. Outside of continuous integration the examples are random;
a failure prints what reproduces it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from ledger_model import (
    CANCELLED,
    DONE,
    FAILED,
    LIVE,
    PENDING,
    QUEUED,
    RUNNING,
    SPLIT,
    Batch,
    Facts,
    Key,
    answer,
    check_change,
    check_standing,
    entry_for,
    observe,
    records,
    worker_info,
)

from schemas.database import Database
from schemas.errors import Conflict, CorpusChanged, LeaseLost, RowError, StaleFence
from schemas.items import ContentKind, Task
from schemas.ledger import claims, corpora, dispatches, jobs, leases
from schemas.ledger.claims import ClaimedBatch
from schemas.message import BatchMessage
from schemas.outcomes import Failed
from schemas.states import BatchState

PICK = st.integers(0, 999)
TASKS = {Task.PREDICT: ContentKind.MOLECULE, Task.GENERATE: ContentKind.PROMPT}


def rejected(row: int) -> bool:
    return row % 5 == 2


def failing(salt: int, row: int, sample: int) -> RowError | None:
    return {0: RowError.ENGINE, 1: RowError.TIMEOUT}.get((row + sample + salt) % 3)


class LedgerMachine(RuleBasedStateMachine):
    """Workers, a dispatcher, and a broker that loses, repeats and reorders messages."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        with database.transaction() as connection:
            for table in ("batches", "tallies", "jobs", "corpora", "items", "leases", "predictions", "generations"):
                connection.execute(f"DELETE FROM {table}")
        self.models = {task: entry_for(task, rows=3) for task in TASKS}
        self.model_ids = {task: jobs.pin_model(database, entry, "r1") for task, entry in self.models.items()}
        self.corpora = {task: corpora.ensure(database, task, kind, "test") for task, kind in TASKS.items()}
        self.workers = [leases.take(database, worker_info(), 3600) for _ in range(2)]
        self.gone: dict[int, str] = {}  # leases that were closed, and for what
        self.silent: list[int] = []  # leases of workers that died, not yet closed
        self.messages: list[BatchMessage] = []
        self.sent: list[BatchMessage] = []  # all messages ever
        self.held: list[ClaimedBatch] = []  # all claims ever, so that late workers come back too
        self.now = Facts()

    def settle(
        self,
        *,
        batches: dict[int, Batch] | None = None,
        outcomes: dict[Key, tuple[int, str | None]] | None = None,
        jobs: dict[int, str] | None = None,
        new: int = 0,
    ) -> set[int]:
        """Look at the ledger after a step: only what is said here has changed. Returns the new batches."""
        before, after = self.now, observe(self.database)
        check_change(before, after)
        check_standing(after)
        made = after.batches.keys() - before.batches.keys()
        assert {id: b for id, b in after.batches.items() if id not in made} == {**before.batches, **(batches or {})}
        assert after.outcomes == {**before.outcomes, **(outcomes or {})}
        assert {id: j.state for id, j in after.jobs.items()} == {
            **{id: j.state for id, j in before.jobs.items()},
            **(jobs or {}),
        }
        assert len(made) == new
        self.now = after
        return set(made)

    def _any(self, state: BatchState) -> bool:
        return any(batch.state is state for batch in self.now.batches.values())

    def taken_back(self, wanted: Callable[[Batch], bool], state: BatchState = PENDING) -> dict[int, Batch]:
        """The batches that a step takes from their holder, as they are to be afterwards."""
        return {
            id: replace(b, state=state, fence=b.fence + 1, lease=None if state is PENDING else b.lease)
            for id, b in self.now.batches.items()
            if wanted(b)
        }

    @initialize(
        counts=st.tuples(st.integers(0, 8), st.integers(3, 6)),
        head_start=st.sampled_from(["handed out", "worked off", "sent", "loaded"]),
    )
    def begin(self, counts: tuple[int, int], head_start: str) -> None:
        """Most of the interest begins when there is work, or when there was."""
        for task, count in zip(TASKS, counts, strict=True):
            if count:
                self.load(task, count, False)
            self.open(task, False)
        if head_start in {"sent", "handed out"}:
            self.hand_out(0, head_start == "handed out")
        if head_start == "worked off":
            for task in TASKS:
                self.seal(task)
            self.work_off(1)

    @precondition(lambda self: not all(corpus.sealed or corpus.loaded > 20 for corpus in self.corpora.values()))
    @rule(task=st.sampled_from(list(TASKS)), count=st.integers(1, 8), stale=st.booleans())
    def load(self, task: Task, count: int, stale: bool) -> None:
        corpus = self.corpora[task]
        rows = records(TASKS[task], corpus.loaded + count, rejected=rejected)[corpus.loaded :]
        if corpus.sealed or corpus.loaded > 20:
            return
        self.corpora[task] = corpora.append(self.database, corpus, rows, b"digest")
        if stale:
            with pytest.raises(CorpusChanged):
                corpora.append(self.database, corpus, rows, b"digest")
        self.settle()

    @precondition(lambda self: not all(corpus.sealed for corpus in self.corpora.values()))
    @rule(task=st.sampled_from(list(TASKS)))
    def seal(self, task: Task) -> None:
        self.corpora[task] = corpora.seal(self.database, self.corpora[task])
        self.settle()

    @precondition(lambda self: len(self.now.jobs) < 4)
    @rule(task=st.sampled_from(list(TASKS)), again=st.booleans())
    def open(self, task: Task, again: bool) -> None:
        corpus, entry = self.corpora[task].id, self.models[task]
        same = [id for id, job in self.now.jobs.items() if job.task is task and job.state != "cancelled"]
        samples = 2 if task is Task.GENERATE else 1
        job, new = jobs.open_job(
            self.database, corpus, self.model_ids[task], entry, {"samples": samples}, samples=samples, again=again
        )
        assert new == (again or not same)
        self.settle(jobs={job: "running"} if new else {})

    @precondition(lambda self: any(job.cut_row < job.loaded for job in self.now.jobs.values()))
    @rule(ahead=st.integers(1, 9))
    def cut(self, ahead: int) -> None:
        wanting = {
            id: job
            for id, job in self.now.jobs.items()
            if job.state == "running" and sum(b.state is PENDING for b in self.now.of(id).values()) < ahead
        }
        made = jobs.cut(self.database, ahead)
        self.settle(new=made)
        assert all(self.now.jobs[id].cut_row == job.loaded for id, job in wanting.items())

    @precondition(lambda self: self._any(PENDING))
    @rule(task=st.sampled_from(list(TASKS)), room=st.integers(1, 9), lost=st.booleans())
    def dispatch(self, task: Task, room: int, lost: bool) -> None:
        with self.database.transaction() as connection:
            found = dispatches.waiting(connection, task, room)
        assert all(self.now.jobs[w.job].state == "running" for w in found)
        sent = dispatches.dispatch(self.database, [w.batch for w in found], {w.job: w.served + w.cost for w in found})
        expected = {
            w.batch: replace(b, state=QUEUED, fence=b.fence + 1) for w in found if (b := self.now.batches[w.batch])
        }
        assert [(s.message.batch, s.message.fence) for s in sent] == [(id, b.fence) for id, b in expected.items()]
        self.settle(batches=expected)
        self.sent += [s.message for s in sent]
        if not lost:
            self.messages += [s.message for s in sent]

    @precondition(lambda self: self.messages)
    @rule(pick=PICK, worker=st.integers(0, 1), repeated=st.booleans())
    def deliver(self, pick: int, worker: int, repeated: bool) -> None:
        self._claim(self.messages[pick % len(self.messages)], self.workers[worker])
        if not repeated:
            self.messages.pop(pick % len(self.messages))

    @precondition(lambda self: self._open_messages(late=True))
    @rule(pick=PICK, worker=st.integers(0, 1))
    def deliver_late(self, pick: int, worker: int) -> None:
        """A message arrives whose batch has been sent once more since."""
        late = self._open_messages(late=True)
        self._claim(late[pick % len(late)], self.workers[worker])

    @precondition(lambda self: self.silent or self.gone)
    @precondition(lambda self: self._open_messages(late=False))
    @rule(pick=PICK)
    def deliver_to_the_dead(self, pick: int) -> None:
        leases, messages = [*self.silent, *self.gone], self._open_messages(late=False)
        self._claim(messages[pick % len(messages)], leases[pick % len(leases)])

    def _open_messages(self, *, late: bool) -> list[BatchMessage]:
        """Messages, even lost ones, whose batch is queued: under this message's fence, or under a later one."""
        batches = self.now.batches
        return [
            m for m in self.sent if batches[m.batch].state is QUEUED and (batches[m.batch].fence != m.fence) == late
        ]

    def _claim(self, message: BatchMessage, lease: int) -> None:
        batch = self.now.batches[message.batch]
        wanted = batch.state is QUEUED and batch.fence == message.fence and lease not in self.gone
        assert self.now.jobs[batch.job].state == "running" or not wanted
        claimed = claims.claim(self.database, message, lease)
        assert (claimed is not None) == wanted
        self.settle(batches={message.batch: replace(batch, state=RUNNING, lease=lease)} if wanted else {})
        if claimed is not None:
            assert tuple(item.row for item in claimed.items) == batch.rows
            self.held.append(claimed)

    @precondition(lambda self: self.held)
    @rule(pick=PICK, salt=st.integers(0, 4), times=st.integers(1, 2))
    def complete(self, pick: int, salt: int, times: int) -> None:
        """Any claim ever, the newest ones above all: its answer may be repeated, or come too late."""
        for _ in range(times):
            self._complete(self.held[-1 - pick % min(len(self.held), 5 + pick % 9)], salt)

    @precondition(lambda self: self._late())
    @rule(pick=PICK, salt=st.integers(0, 4))
    def complete_late(self, pick: int, salt: int) -> None:
        """A worker that was silent comes back while another holds its batch."""
        late = self._late()
        self._complete(late[pick % len(late)], salt)

    def _late(self) -> list[ClaimedBatch]:
        batches = self.now.batches
        return [c for c in self.held if batches[c.id].state is RUNNING and batches[c.id].fence != c.fence]

    def _complete(self, claimed: ClaimedBatch, salt: int) -> None:
        batch = self.now.batches[claimed.id]
        results = answer(claimed, partial(failing, salt))
        if batch.fence != claimed.fence or batch.state not in {RUNNING, DONE}:
            with pytest.raises(StaleFence):
                claims.complete(self.database, claimed, results)
            self.settle()
            return
        claims.complete(self.database, claimed, results)
        if batch.state is DONE:
            self.settle()
            return
        written: dict[Key, tuple[int, str | None]] = {}
        for result in results:
            key = (claimed.job, result.row, getattr(result, "sample", 0))
            if not batch.retry or self.now.outcomes[key][1] is not None:
                written[key] = (claimed.id, result.code if isinstance(result, Failed) else None)
        self.settle(batches={claimed.id: replace(batch, state=DONE)}, outcomes=written)

    @precondition(lambda self: self.held)
    @rule(pick=PICK, blamed=st.booleans())
    def hand_back(self, pick: int, blamed: bool) -> None:
        claimed = self.held[pick % len(self.held)]
        batch = self.now.batches[claimed.id]
        holds = batch.state is RUNNING and batch.fence == claimed.fence
        assert (claims.give_up if blamed else claims.release)(self.database, claimed) == holds
        back = self.taken_back(lambda b: b is batch)
        self.settle(
            batches={id: replace(b, crashes=b.crashes + blamed) for id, b in back.items()} if holds else {},
        )

    @precondition(lambda self: self._any(RUNNING))
    @rule(blamed=st.booleans())
    def hand_all_back(self, blamed: bool) -> None:
        for pick, claimed in enumerate(self.held):
            if self.now.batches[claimed.id].state is RUNNING:
                self.hand_back(pick, blamed)

    @precondition(lambda self: self._any(RUNNING))
    @rule(worker=st.integers(0, 1), how=st.sampled_from(["stops", "falls silent", "is found dead"]))
    def leave(self, worker: int, how: str) -> None:
        """A worker stops, or dies and does not renew its lease any more; another takes its place."""
        lease, self.workers[worker] = self.workers[worker], leases.take(self.database, worker_info(), 3600)
        if how == "stops":
            leases.close(self.database, lease)
            self.gone[lease] = "stopped"
            self.settle()
            return
        with self.database.transaction() as connection:
            connection.execute("UPDATE leases SET expires_at = now() - interval '1 hour' WHERE id = %s", (lease,))
        self.silent.append(lease)
        if how == "is found dead":
            self.close_lapsed()
            self.expire()

    @precondition(lambda self: self.silent)
    @rule()
    def close_lapsed(self) -> None:
        assert len(leases.close_lapsed(self.database, seconds=0)) == len(self.silent)
        self.gone |= dict.fromkeys(self.silent, "lapsed")
        self.silent = []
        self.settle()

    @precondition(lambda self: self.gone and self._any(RUNNING))
    @rule()
    def expire(self) -> None:
        with self.database.transaction() as connection, pytest.raises(LeaseLost):
            leases.renew(connection, next(iter(self.gone)), 3600)
        back = self.taken_back(lambda b: b.state is RUNNING and b.lease in self.gone)
        for id, batch in back.items():
            lapsed = self.gone[self.now.batches[id].lease or 0] == "lapsed"
            back[id] = replace(batch, crashes=batch.crashes + lapsed)
        assert dispatches.expire(self.database) == len(back)
        self.settle(batches=back)

    @precondition(lambda self: self._any(QUEUED))
    @rule(task=st.sampled_from([None, *TASKS]), age=st.sampled_from([0.0, 0.0, 3600.0]))
    def recall(self, task: Task | None, age: float) -> None:
        back = self.taken_back(
            lambda b: age == 0 and b.state is QUEUED and (task is None or self.now.jobs[b.job].task is task)
        )
        assert dispatches.recall(self.database, task, older_than=age) == len(back)
        self.settle(batches=back)

    @precondition(lambda self: any(b.crashes and b.state is PENDING for b in self.now.batches.values()))
    @rule(crashes=st.integers(1, 2))
    def isolate(self, crashes: int) -> None:
        with self.database.transaction() as connection:
            found = dispatches.suspects(connection, crashes)
        assert {id for id, _ in found} == {
            id for id, b in self.now.batches.items() if b.crashes >= crashes and b.state is PENDING
        }
        for id, rows in found:
            self._split(id) if rows > 1 else self._fail(id)

    def _split(self, id: int) -> None:
        assert dispatches.split(self.database, id)
        halves = self.settle(batches=self.taken_back(lambda b: b is self.now.batches[id], SPLIT), new=2)
        assert [row for half in sorted(halves) for row in self.now.batches[half].rows] == [*self.now.batches[id].rows]
        assert {(self.now.batches[half].parent, self.now.batches[half].crashes) for half in halves} == {(id, 1)}

    def _fail(self, id: int) -> None:
        batch = self.now.batches[id]
        assert dispatches.fail(self.database, id, RowError.WORKER_CRASH, "it crashes")
        keys = [(batch.job, row, sample) for row in batch.rows for sample in range(self.now.jobs[batch.job].samples)]
        self.settle(
            batches=self.taken_back(lambda b: b is batch, FAILED),
            outcomes={
                key: (id, RowError.EMPTY_SMILES if rejected(key[1]) else RowError.WORKER_CRASH)
                for key in keys
                if not batch.retry or self.now.outcomes[key][1] is not None
            },
        )

    @precondition(lambda self: any(job.state in {"running", "paused"} for job in self.now.jobs.values()))
    @rule(pick=PICK, change=st.sampled_from(["pause", "resume", "cancel"]))
    def steer(self, pick: int, change: str) -> None:
        job = sorted(self.now.jobs)[pick % len(self.now.jobs)]
        state = self.now.jobs[job].state
        if change == "cancel" and pick % 2:  # less often, or little is left to look at
            return
        if state == "done" or (state == "cancelled" and change != "cancel"):
            with pytest.raises(Conflict):
                getattr(jobs, change)(self.database, job)
            self.settle()
            return
        getattr(jobs, change)(self.database, job)
        if change == "pause":
            self.settle(batches=self.taken_back(lambda b: b.job == job and b.state is QUEUED), jobs={job: "paused"})
        elif change == "resume":
            self.settle(jobs={job: "running"})
        else:
            ended = self.taken_back(lambda b: b.job == job and b.state in LIVE, CANCELLED)
            self.settle(batches=ended, jobs={job: "cancelled"})

    @precondition(lambda self: any(job.cut_row == job.loaded for job in self.now.jobs.values()))
    @rule()
    def finish(self) -> None:
        over = {
            id
            for id, job in self.now.jobs.items()
            if job.state in {"running", "paused"} and job.sealed and job.cut_row == job.loaded
            if not any(b.state in LIVE for b in self.now.of(id).values())
        }
        assert set(jobs.finish(self.database)) == over
        self.settle(jobs=dict.fromkeys(over, "done"))

    @precondition(lambda self: any(job.state == "done" and job.failed for job in self.now.jobs.values()))
    @rule(pick=PICK, codes=st.sampled_from([[], [RowError.ENGINE], [RowError.TIMEOUT, RowError.WORKER_CRASH]]))
    def retry(self, pick: int, codes: list[RowError]) -> None:
        candidates = [id for id, job in self.now.jobs.items() if job.state == "done" or pick % 5 == 0]
        job = sorted(candidates)[pick % len(candidates)]
        if self.now.jobs[job].state != "done":
            with pytest.raises(Conflict):
                jobs.retry(self.database, job, codes)
            self.settle()
            return
        failures = {key: code for key, (_, code) in self.now.outcomes.items() if key[0] == job and code is not None}
        rows = {row for (_, row, _), code in failures.items() if not rejected(row) and (not codes or code in codes)}
        assert jobs.retry(self.database, job, codes) == sum(row in rows for _, row, _ in failures)
        known = self.now.batches.keys()
        made = self.settle(new=-(-len(rows) // 3), jobs={job: "running"} if rows else {})
        assert sorted(row for id in made for row in self.now.batches[id].rows) == sorted(rows)
        assert all(self.now.batches[id].retry for id in made) and not made & known

    @rule(worker=st.integers(0, 1), arrives=st.booleans())
    def hand_out(self, worker: int, arrives: bool) -> None:
        """A good minute: all that waits is sent, and a worker takes all that arrives."""
        self.cut(9)
        for task in TASKS:
            self.dispatch(task, 99, False)
        while self.messages and arrives:
            self._claim(self.messages.pop(), self.workers[worker])

    @rule(salt=st.integers(0, 4))
    def work_off(self, salt: int) -> None:
        """A good hour: all jobs that can end do."""
        self.hand_out(0, True)
        for claimed in self.held:
            batch = self.now.batches[claimed.id]
            if batch.state is RUNNING and batch.fence == claimed.fence:
                self._complete(claimed, salt)
        self.finish()

    def teardown(self) -> None:
        """Whatever happened, a healthy worker can finish every job that was not cancelled."""
        for task in TASKS:
            self.seal(task)
        for job, facts in self.now.jobs.items():
            if facts.state == "paused":
                jobs.resume(self.database, job)
        self.now = observe(self.database)
        for worker in range(2):
            self.leave(worker, "is found dead")
        self.recall(None, 0.0)
        self.work_off(0)
        assert {job.state for job in self.now.jobs.values()} <= {"done", "cancelled"}
        for id, end in self.now.jobs.items():
            if end.state == "done":
                due = {(id, row, sample) for row in range(end.loaded) for sample in range(end.samples)}
                assert {key for key in self.now.outcomes if key[0] == id} == due


def test_no_order_of_events_loses_doubles_or_miscounts_a_row(database: Database) -> None:
    run_state_machine_as_test(
        partial(LedgerMachine, database),  # type: ignore[arg-type]  # any function that makes a machine will do
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )
