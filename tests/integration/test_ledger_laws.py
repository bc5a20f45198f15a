"""The ledger against its laws: any order of loading, losing, crashing, pausing, splitting and retrying.

Each rule predicts from the facts before it exactly what changes; the laws of `ledger_model` are checked after each
step. At the end a healthy worker finishes what is left. Outside of continuous integration the examples are random;
a failure prints what reproduces it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test
from ledger_machine import PICK, TASKS, Workers, rejected
from ledger_model import (
    CANCELLED,
    FAILED,
    LIVE,
    PENDING,
    QUEUED,
    RUNNING,
    SPLIT,
    observe,
    records,
)

from schemas.database import Database
from schemas.errors import Conflict, CorpusChanged, RowError
from schemas.items import Task
from schemas.ledger import corpora, cuts, dispatches, jobs
from schemas.ledger.dispatches import Lane


class Ledger(Workers):
    """The same with loaders, a dispatcher, and a user."""

    @initialize(
        counts=st.tuples(st.integers(0, 8), st.integers(3, 6)),
        head_start=st.sampled_from(["handed out", "worked off", "retried", "sent", "loaded"]),
    )
    def begin(self, counts: tuple[int, int], head_start: str) -> None:
        """Most of the interest begins when there is work, or when there was."""
        for task, count in zip(TASKS, counts, strict=True):
            if count:
                self.load(task, count, False)
            self.open(task, False)
        if head_start in {"sent", "handed out"}:
            self.hand_out(0, head_start == "handed out")
        if head_start in {"worked off", "retried"}:
            for task in TASKS:
                self.seal(task)
            self.work_off(1)
        if head_start == "retried":
            for job in [id for id, facts in self.now.jobs.items() if facts.state == "done"]:
                self._retry(job, [])
            self.hand_out(0, True)

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
        made = cuts.cut(self.database, ahead)
        self.settle(new=made)
        assert all(self.now.jobs[id].cut_row == job.loaded for id, job in wanting.items())

    @precondition(lambda self: self._any(PENDING))
    @rule(task=st.sampled_from(list(TASKS)), room=st.integers(1, 9), lost=st.booleans())
    def dispatch(self, task: Task, room: int, lost: bool) -> None:
        with self.database.transaction() as connection:
            found = dispatches.waiting(connection, Lane(task, None), room)
        assert all(self.now.jobs[w.job].state == "running" for w in found)
        sent = dispatches.dispatch(self.database, [w.batch for w in found], task.queue)
        expected = {
            w.batch: replace(b, state=QUEUED, fence=b.fence + 1) for w in found if (b := self.now.batches[w.batch])
        }
        assert [(s.message.batch, s.message.fence) for s in sent] == [(id, b.fence) for id, b in expected.items()]
        self.settle(batches=expected)
        self.sent += [s.message for s in sent]
        if not lost:
            self.messages += [s.message for s in sent]

    @precondition(lambda self: self._any(QUEUED))
    @rule(task=st.sampled_from([None, *TASKS]), age=st.sampled_from([0.0, 0.0, 3600.0]))
    def recall(self, task: Task | None, age: float) -> None:
        back = self.taken_back(
            lambda b: age == 0 and b.state is QUEUED and (task is None or self.now.jobs[b.job].task is task)
        )
        assert dispatches.recall(self.database, task and task.queue, older_than=age) == len(back)
        self.settle(batches=back)

    @precondition(lambda self: any(b.crashes and b.state is PENDING for b in self.now.batches.values()))
    @rule(crashes=st.integers(1, 2), times=st.integers(1, 3))
    def isolate(self, crashes: int, times: int) -> None:
        for _ in range(times):
            with self.database.transaction() as connection:
                found = dispatches.suspects(connection, crashes)
            assert {id for id, _ in found} == {
                id for id, b in self.now.batches.items() if b.crashes >= crashes and b.state is PENDING
            }
            for id, rows in found:
                self._split(id) if rows > 1 else self._fail(id)

    @precondition(lambda self: self._any(RUNNING))
    @rule(times=st.integers(1, 3))
    def crash_and_isolate(self, times: int) -> None:
        self.hand_all_back(True)
        self.isolate(1, times)

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
        self._retry(sorted(candidates)[pick % len(candidates)], codes)

    def _retry(self, job: int, codes: list[RowError]) -> None:
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

    @precondition(lambda self: self._any(RUNNING))
    @rule(worker=st.integers(0, 1), salt=st.integers(0, 4), blamed=st.booleans())
    def change_hands(self, worker: int, salt: int, blamed: bool) -> None:
        """What runs goes to another worker, and then the answers of the first arrive."""
        self.hand_all_back(blamed)
        self.hand_out(worker, True)
        for claimed in self._late()[:3]:
            self._complete(claimed, salt)

    @precondition(lambda self: self._any(QUEUED))
    @rule(worker=st.integers(0, 1))
    def send_again(self, worker: int) -> None:
        """What is queued is sent once more, and then the first messages arrive, or reach a worker that is gone."""
        self.recall(None, 0.0)
        self.hand_out(worker, False)
        for message in self._open_messages(late=True)[:2]:
            self._claim(message, self.workers[worker])
        self.leave(worker, "stops")
        for message in self._open_messages(late=False)[:2]:
            self._claim(message, next(reversed(self.gone)))

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
        self.work_off(0)  # a job with nine batches ready was not cut further by the first
        assert {job.state for job in self.now.jobs.values()} <= {"done", "cancelled"}
        for id, end in self.now.jobs.items():
            if end.state == "done":
                due = {(id, row, sample) for row in range(end.loaded) for sample in range(end.samples)}
                assert {key for key in self.now.outcomes if key[0] == id} == due


def test_no_order_of_events_loses_doubles_or_miscounts_a_row(database: Database) -> None:
    run_state_machine_as_test(
        partial(Ledger, database),  # type: ignore[arg-type]  # any function that makes a machine will do
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )
