"""The workers' side of the ledger's laws: messages that come late or twice, claims, answers, and deaths.

Each rule predicts from the facts before it exactly what changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from ledger_model import (
    DONE,
    PENDING,
    QUEUED,
    RUNNING,
    Batch,
    Facts,
    Key,
    answer,
    check_change,
    check_standing,
    entry_for,
    observe,
    worker_info,
)

from schemas.database import Database
from schemas.errors import LeaseLost, RowError, StaleFence
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


class Workers(RuleBasedStateMachine):
    """Workers on a ledger, and a broker that loses, repeats and reorders messages."""

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
