"""What a worker does with one message: claim the batch, prepare its rows, let the batcher compute, complete."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress

from schemas.database import Database
from schemas.errors import (
    Conflict,
    ModelTooLarge,
    ModelUnavailable,
    NotFound,
    ServerUnavailable,
    StaleFence,
    UsageError,
)
from schemas.items import Task
from schemas.ledger import claims, jobs
from schemas.ledger.claims import ClaimedBatch
from schemas.logs import about
from schemas.message import BatchMessage
from schemas.outcomes import Outcome
from workers.engines.contract import Prepared
from workers.lease import LeaseKeeper
from workers.loading import LoadedModel
from workers.shelf import Shelf
from workers.spans import Spans, Step
from workers.tickets import DeviceLost, Stopped, Ticket
from workers.traces import Traces
from workers.trainer import Trainer

log = logging.getLogger(__name__)

OVERDUE = 60.0  # seconds past a deadline until a thread is taken to be stuck
RETRY = 0.5  # seconds until finished results are offered again while PostgreSQL is away


class Runner:
    """Shared by the threads of a worker; each call of `run` is one batch."""

    def __init__(
        self, database: Database, shelf: Shelf, trainer: Trainer | None = None, traces: Traces | None = None
    ) -> None:
        self._database = database
        self._traces = traces
        self._shelf = shelf
        self._trainer = trainer
        self._lock = threading.Lock()
        self._waiting: dict[Ticket, int] = {}  # to the number of outcomes that each is waited for
        self._deadlines: dict[int, float] = {}  # of the batches that are being prepared
        self._verdicts: Counter[str] = Counter()
        self._stopping = threading.Event()  # what is still held goes back
        self._draining = False
        self._hurried = False
        self._running = 0  # calls of `run` that have begun
        self._changed = threading.Condition()

    def run(self, message: BatchMessage, lease: LeaseKeeper) -> str:
        """Carry one batch from its message to its outcomes in PostgreSQL; returns what became of it, in a word.

        Raises:
            DeviceLost: the process must end; its supervisor starts another.
        """
        with self._changed:
            draining = self._draining
            self._running += not draining
        if draining:
            return self._count(self._leave(message))
        try:
            return self._count(self._run(message, lease))
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _run(self, message: BatchMessage, lease: LeaseKeeper) -> str:
        spans = Spans()
        with ExitStack() as said:
            said.enter_context(about(batch=message.batch, fence=message.fence))
            try:
                with spans.measure(Step.CLAIM):
                    batch = self._claim(message, lease.id)
                if batch is not None:
                    said.enter_context(about(job=batch.job))
                verdict = "refused" if batch is None else self._carry_out(batch, spans)
            except DeviceLost:
                raise
            except BaseException as fault:
                # Whatever this was, the batch may be ours still, and nobody else can take it while this process lives.
                raise DeviceLost(f"batch {message.batch}: {type(fault).__name__}: {fault}") from fault
            log.info("batch %d, fence %d: %s (%s)", message.batch, message.fence, verdict, spans)
        if batch is not None:
            self._shelf.count(batch.model, spans)
            if self._traces is not None:
                self._traces.tell(batch, spans, verdict)
        return verdict

    def _carry_out(self, batch: ClaimedBatch, spans: Spans) -> str:
        if self._trainer is not None and batch.task is Task.TRAIN:
            trained = self._trainer.run(batch)
            if trained is None:
                return self._record(lambda: self._release(batch))
            return self._record(lambda: self._complete(batch, [trained]))
        try:
            outcomes = self._compute(batch, spans)
            with spans.measure(Step.COMPLETE):
                verdict = self._record(lambda: self._complete(batch, outcomes))
        except ModelTooLarge as fault:
            log.warning("batch %d is for a larger worker: %s", batch.id, fault)
            need = fault.need
            verdict = self._record(lambda: self._refuse(batch, need))
        except (ModelUnavailable, UsageError) as fault:  # would fail every row alike: mend it, then resume
            reason = str(fault)
            verdict = self._record(lambda: self._pause(batch, reason))
        except CancelledError:
            verdict = "abandoned"  # the lease was lost, and with it the batch
        except ServerUnavailable as fault:
            log.warning("batch %d goes back: %s", batch.id, fault)
            verdict = self._record(lambda: self._release(batch))
        except Stopped as fault:
            if not self._stopping.is_set():  # the model thread died: this process is of no more use
                raise DeviceLost(str(fault)) from fault
            verdict = self._record(lambda: self._release(batch))
        except Exception as fault:  # past its deadline, or a fault of ours: tried again, then isolated row by row
            log.error("batch %d of job %d was given up", batch.id, batch.job, exc_info=fault)
            verdict = self._record(lambda: self._give_up(batch))
        return verdict

    def _count(self, verdict: str) -> str:
        with self._lock:
            self._verdicts[verdict] += 1
        return verdict

    def verdicts(self) -> dict[str, int]:
        """How often each thing became of a batch so far, in the words of `run`."""
        with self._lock:
            return dict(self._verdicts)

    def overdue(self) -> int | None:
        """A batch that is so far past its deadline that its thread must be stuck, for the watchdog."""
        with self._lock:
            deadlines = list(self._deadlines.items())
        return next((batch for batch, deadline in deadlines if time.monotonic() > deadline + OVERDUE), None)

    def abandon(self) -> None:
        """Drop what is waiting for the device: the lease is lost, and others have these batches now."""
        with self._lock:
            waiting = list(self._waiting)
        for ticket in waiting:
            ticket.cancel()

    def stop(self, drain: float) -> None:
        """Take no new batch; give those that are held `drain` seconds to be finished, then hand the rest back.

        A training run goes on elsewhere from its checkpoint, so it is asked to write one and end at once.
        """
        if self._trainer is not None:
            self._trainer.stop()
        with self._changed:
            self._draining = True
            self._changed.wait_for(lambda: not self._running or self._hurried, drain)
        self._stopping.set()
        self._shelf.stop(0.0)

    def hurry(self) -> None:
        """End a drain that is under way: what is still held goes back at once."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def _compute(self, batch: ClaimedBatch, spans: Spans) -> list[Outcome]:
        with ExitStack() as held:
            with spans.measure(Step.MODEL):
                model = held.enter_context(self._shelf.use(batch.model))
            due = model.workshop.due(batch.due)
            with self._deadline(model, batch) as deadline:
                with spans.measure(Step.PREPARE):
                    units, failed = model.workshop.prepare(batch.items, batch.parameters, batch.samples, due)
                ticket = self._submit(model, units, batch)
            try:
                with spans.measure(Step.COMPUTE):
                    computed = ticket.result(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                ticket.cancel()
                raise
            finally:
                with self._lock:
                    self._waiting.pop(ticket, None)
            with spans.measure(Step.FINISH):
                return [*failed, *model.workshop.finish(computed, due)]

    @contextmanager
    def _deadline(self, model: LoadedModel, batch: ClaimedBatch) -> Iterator[float]:
        """By when the batch must be done: the time its rows may take, and those of all that wait before them."""
        with self._lock:
            due = batch.due + sum(self._waiting.values())
            deadline = time.monotonic() + model.engine.entry.limits.row_seconds * due
            self._deadlines[batch.id] = deadline
        try:
            yield deadline
        finally:
            with self._lock:
                del self._deadlines[batch.id]

    def _submit(self, model: LoadedModel, units: Sequence[Prepared], batch: ClaimedBatch) -> Ticket:
        ticket = model.batcher.submit(units, job=batch.job, weight=batch.weight)
        with self._lock:
            self._waiting[ticket] = batch.due
        return ticket

    def _claim(self, message: BatchMessage, lease: int) -> ClaimedBatch | None:
        """Claim, and do not let go of a claim whose answer was lost: nobody else could take it while we live."""
        repeated = False
        while not self._stopping.is_set():
            try:
                return claims.claim(self._database, message, lease, repeated=repeated)
            except ServerUnavailable as fault:
                log.warning("batch %d waits to be claimed: %s", message.batch, fault)
                repeated = True
                time.sleep(RETRY)
        return None

    def _record(self, change: Callable[[], str]) -> str:
        """Carry a change of the ledger through an outage of PostgreSQL; returns what `change` says."""
        while True:
            try:
                return change()
            except ServerUnavailable as fault:
                if self._stopping.is_set():
                    return "lost with PostgreSQL away"  # the lease ends, and the batch runs again
                log.warning("a batch waits to be recorded: %s", fault)
                time.sleep(RETRY)

    def _leave(self, message: BatchMessage) -> str:
        """Hand a message back to whoever is not stopping, rather than have its loss found out seconds later."""
        with suppress(ServerUnavailable):  # PostgreSQL is away: the dispatcher finds the message lost later
            claims.decline(self._database, message)
        return "left"

    def _complete(self, batch: ClaimedBatch, outcomes: Sequence[Outcome]) -> str:
        try:
            claims.complete(self._database, batch, outcomes)
        except StaleFence:
            return "too late"
        return "done"

    def _pause(self, batch: ClaimedBatch, reason: str) -> str:
        if not claims.release(self._database, batch):
            return "too late"  # to speak for the job: it may have been mended and resumed since
        with suppress(Conflict, NotFound):  # it has ended meanwhile
            jobs.pause(self._database, batch.job, reason)
        return "paused its job"

    def _refuse(self, batch: ClaimedBatch, need: int) -> str:
        claims.refuse(self._database, batch, need)
        return "too large"

    def _release(self, batch: ClaimedBatch) -> str:
        claims.release(self._database, batch)
        return "released"

    def _give_up(self, batch: ClaimedBatch) -> str:
        claims.give_up(self._database, batch)
        return "gave up"
