"""The ledger under real concurrency: workers that die and come back, two dispatchers at odds, and a restless user."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable

import pytest
from ledger_model import answer, check_standing, entry_for, load, observe, records, worker_info

from schemas.database import Database
from schemas.errors import Conflict, LeaseLost, RowError, StaleFence
from schemas.items import ContentKind, Task
from schemas.ledger import claims, cuts, dispatches, jobs, leases
from schemas.ledger.dispatches import Lane
from schemas.ledger.progress import of_job
from schemas.message import BatchMessage

CHAOS_SECONDS = 2.0
DEADLINE_SECONDS = 60.0
KINDS = {Task.PREDICT: ContentKind.MOLECULE, Task.GENERATE: ContentKind.PROMPT}


class Bedlam:
    """Threads on one ledger, joined by a broker that loses and repeats messages. Any error of a thread is kept."""

    def __init__(self, url: str, task: Task, seed: int) -> None:
        self.url, self.task, self.seed = url, task, seed
        self.broker: queue.Queue[BatchMessage] = queue.Queue()
        self.stop = threading.Event()
        self.calm = threading.Event()  # set: nothing goes wrong any more
        self.errors: list[BaseException] = []
        self.threads: list[threading.Thread] = []

    def start(self, *loops: Callable[[Database, random.Random], None]) -> None:
        for number, loop in enumerate(loops, start=len(self.threads)):
            thread = threading.Thread(target=self._run, args=(loop, random.Random(f"{self.seed}.{number}")))
            self.threads.append(thread)
            thread.start()

    def _run(self, loop: Callable[[Database, random.Random], None], luck: random.Random) -> None:
        try:
            with Database(self.url, size=2) as database:
                while not self.stop.is_set() and not self.errors:
                    loop(database, luck)
        except BaseException as fault:
            self.errors.append(fault)

    def end(self) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(30)
        if self.errors:
            raise self.errors[0]

    def await_done(self, database: Database, job: int) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self.errors and of_job(database, job).state.value != "done":
            assert time.monotonic() < deadline, f"not done: {of_job(database, job)}"
            time.sleep(0.05)

    def worker(self, database: Database, luck: random.Random) -> None:
        """One life of a worker: it ends when it 'dies', and its batches must go to others."""
        lease = leases.take(database, worker_info(), 3600)
        while not self.stop.is_set():
            try:
                message = self.broker.get(timeout=0.02)
            except queue.Empty:
                continue
            batch = claims.claim(database, message, lease)
            if batch is None:
                if self.lost(database, lease):
                    return
                continue
            fate = 1.0 if self.calm.is_set() else luck.random()
            time.sleep(0.02 * luck.random() if fate < 0.5 else 0)
            if fate < 0.05:  # dies; a late answer may yet come
                self.lapse(database, lease)
                late = luck.random() < 0.5
                time.sleep(0.1 * late)
                if not late:
                    return
            elif fate < 0.10:
                claims.release(database, batch)
                continue
            elif fate < 0.12:
                claims.give_up(database, batch)
                continue
            results = answer(batch, lambda row, sample: RowError.ENGINE if (row + sample) % 7 == 0 else None)
            try:
                for _ in range(1 + (luck.random() < 0.1)):  # the first answer may be lost on its way
                    claims.complete(database, batch, results)
            except StaleFence:
                pass
            if fate < 0.05:
                return

    def dispatcher(self, database: Database, luck: random.Random) -> None:
        cuts.cut(database, 8)
        with database.transaction() as connection:
            room = 8 - self.broker.qsize()
            waiting = dispatches.waiting(connection, Lane(self.task, None), room) if room > 0 else []
        for sent in dispatches.dispatch(database, [w.batch for w in waiting], self.task.queue):
            fate = 0.5 if self.calm.is_set() else luck.random()
            for _ in range(0 if fate < 0.05 else 2 if fate > 0.9 else 1):
                self.broker.put(sent.message)
        leases.close_lapsed(database, seconds=0)
        dispatches.expire(database)
        if self.broker.empty():
            dispatches.recall(database, self.task.queue, older_than=0.2)
        with database.transaction() as connection:
            suspects = dispatches.suspects(connection, 2)
        for batch, rows in suspects:
            if rows > 1:
                dispatches.split(database, batch)
            else:
                dispatches.fail(database, batch, RowError.WORKER_CRASH, "it crashes")
        jobs.finish(database)
        time.sleep(0.01)

    def chaos(self, database: Database, luck: random.Random) -> None:
        time.sleep(0.02 * luck.random())
        if self.calm.is_set():
            return
        with database.transaction() as connection:
            rows = connection.execute("SELECT id FROM jobs WHERE state IN ('running', 'paused')").fetchall()
            pending = connection.execute("SELECT id FROM batches WHERE state = 'pending'").fetchall()
        match luck.choice(["recall", "pause", "split", "split", "lapse"]):
            case "recall":
                dispatches.recall(database)
            case "split" if pending:
                dispatches.split(database, luck.choice(pending)["id"])
            case "lapse":
                for lease in leases.live(database):
                    if luck.random() < 0.1:
                        self.lapse(database, lease["id"])
            case "pause" if rows:
                job = luck.choice(rows)["id"]
                try:
                    jobs.pause(database, job)
                    time.sleep(0.05 * luck.random())
                    jobs.resume(database, job)
                except Conflict:  # it ended meanwhile
                    pass

    @staticmethod
    def lost(database: Database, lease: int) -> bool:
        """What a heartbeat would tell. The lease is not prolonged, or nobody's would ever lapse."""
        try:
            with database.transaction() as connection:
                leases.renew(connection, lease, 3600)
                connection.rollback()
        except LeaseLost:
            return True
        return False

    @staticmethod
    def lapse(database: Database, lease: int) -> None:
        with database.transaction() as connection:
            connection.execute("UPDATE leases SET expires_at = now() - interval '1 hour' WHERE id = %s", (lease,))

    @staticmethod
    def observer(database: Database, luck: random.Random) -> None:
        check_standing(observe(database))
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("seed", "task", "samples"), [(1, Task.PREDICT, 1), (2, Task.GENERATE, 2), (3, Task.PREDICT, 1)]
)
def test_workers_dispatchers_and_users_at_odds_lose_double_and_miscount_nothing(
    database: Database, database_url: str, seed: int, task: Task, samples: int
) -> None:
    entry = entry_for(task, rows=16)
    model = jobs.pin_model(database, entry, "r1")
    corpus = load(
        database, "bulk", KINDS[task], records(KINDS[task], 2000 // samples, rejected=lambda row: row % 50 == 9)
    )
    job, _ = jobs.open_job(database, corpus, model, entry, {}, samples=samples)
    doomed, _ = jobs.open_job(database, corpus, model, entry, {"again": 1}, samples=samples)
    bedlam = Bedlam(database_url, task, seed)
    bedlam.start(*[bedlam.worker] * 4, *[bedlam.dispatcher] * 2, bedlam.chaos, bedlam.observer)
    try:
        while not any(key[0] == doomed for key in observe(database).outcomes):  # it is cancelled amid its work
            time.sleep(0.05)
        jobs.cancel(database, doomed)
        time.sleep(CHAOS_SECONDS)
        bedlam.calm.set()
        bedlam.await_done(database, job)
        bedlam.calm.clear()
        assert bedlam.errors or jobs.retry(database, job) > 0
        time.sleep(CHAOS_SECONDS / 4)
        bedlam.calm.set()
        bedlam.await_done(database, job)
    finally:
        bedlam.end()
    facts = observe(database)
    check_standing(facts)
    assert {id: facts.jobs[id].state for id in (job, doomed)} == {job: "done", doomed: "cancelled"}
    assert len([key for key in facts.outcomes if key[0] == job]) == 2000
