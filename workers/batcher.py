"""Blends the rows of all running batches into micro-batches and feeds them to one engine from one thread.

What to compute next is decided in `workers.planner`; here are the model thread, the halving of micro-batches that
fail, and the delivery of each outcome to the ticket it was submitted under.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from schemas.errors import RowError
from schemas.outcomes import Failed, Outcome
from workers.continuous import decode
from workers.cost import CostModel
from workers.counts import BatcherStats
from workers.engines.contract import ContinuousEngine, Engine, Prepared, check_outcomes
from workers.memory import Ceiling, free_cached, is_device_lost, is_out_of_memory
from workers.plan import Beside, Plan, PlanLimits
from workers.planner import WaitingRows, plan
from workers.tickets import DeviceLost, Stopped, Ticket, TicketRow

log = logging.getLogger(__name__)

LAUNCH_SHARE = 16
"""A micro-batch, however small, is taken to cost the device this fraction of a full one."""

REFILL_SHARE = 8
"""Rows join a running decoding when this fraction of its places is free: each joining costs a pass of its own."""


class Batcher:
    """One engine's queue and its model thread. All methods may be called from any thread."""

    def __init__(
        self, engine: Engine, cost: CostModel | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Without `cost`, what was learnt earlier, the size of micro-batches is learnt from the start."""
        limits = engine.entry.limits
        self._engine = engine
        self._cost = cost or CostModel(limits.token_budget, limits.latency)
        self._clock = clock
        self._limits = PlanLimits(
            token_budget=limits.token_budget,
            max_rows=limits.max_rows,
            wait=limits.wait_ms / 1000,
            launch_tokens=limits.token_budget // LAUNCH_SHARE,
            pads=engine.pads,
        )
        self._ceiling = Ceiling(limits.token_budget)
        self._began = 0.0  # when the present micro-batch was begun to be planned
        self._budget = limits.token_budget  # that it was planned with
        self._places = limits.max_rows  # for rows that are decoded together
        self._changed = threading.Condition()  # guards everything below
        self._waiting = WaitingRows()
        self._by_key: dict[int, Ticket] = {}  # of the rows that wait
        self._open: set[Ticket] = set()
        self._at_work = False  # whether the model thread has rows in hand
        self._ended: Stopped | None = None
        self._stats = BatcherStats()
        self._traced: set[tuple[str, int]] = set()  # where faults came from that are in the log already
        self._thread = threading.Thread(target=self._serve, name=f"model-{engine.entry.name}", daemon=True)

    def start(self) -> None:
        """Start the model thread. Called once."""
        self._thread.start()

    def submit(self, rows: Sequence[Prepared], *, job: int, weight: float = 1.0) -> Ticket:
        """Let rows wait for the device, at their job's fair share of it.

        Raises:
            Stopped: the batcher takes no more rows.
            ValueError: the weight is not a positive number.
        """
        ticket = Ticket(rows, job, self._clock(), self._close)
        lengths = [max(1, row.tokens) for row in rows]
        with self._changed:
            if self._ended is not None:
                raise _again(self._ended)
            if ticket.closed:  # it has no rows
                return ticket
            ticket.keys = self._waiting.add(lengths, job=job, weight=weight, arrived=ticket.submitted)
            self._by_key.update(dict.fromkeys(ticket.keys, ticket))
            self._open.add(ticket)
            self._changed.notify()
        return ticket

    def stop(self, drain: float) -> None:
        """Take no more rows, release the tickets that have not begun, and give the others `drain` seconds.

        Returns once they are done or the time is over; what is still open then is released with `Stopped`. A thread
        that is stuck in the engine is left behind: it is a daemon, and its outcomes come to nothing.
        """
        stopped = Stopped("the worker is stopping")
        with self._changed:
            self._ended = self._ended or stopped
            for ticket in [ticket for ticket in self._open if not ticket.begun]:
                self._close(ticket, stopped)
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(drain)
        self._end(stopped)

    def running_since(self) -> float | None:
        """When the engine was last called, by the batcher's clock; None while it is not computing.

        A watchdog tells a wedged device by it.
        """
        return self._stats.running_since

    def stats(self) -> BatcherStats:
        """What was done so far."""
        with self._changed:
            return replace(self._stats, waiting_rows=self._waiting.count, ceiling=self._ceiling.tokens)

    @property
    def idle(self) -> bool:
        """Whether there are no rows, neither waiting nor on the device, where some may be that nobody waits for."""
        with self._changed:
            return not self._waiting.count and not self._at_work

    @property
    def ended(self) -> Stopped | None:
        """Why the batcher takes no more rows, or None while it does."""
        return self._ended

    def _serve(self) -> None:
        """The model thread: plan, compute, deliver, until stopped or until a fault that no row can be blamed for."""
        try:
            while rows := self._next():
                if isinstance(self._engine, ContinuousEngine):
                    rows = decode(self._engine, rows, self._join, self._after_step)
                self._compute(rows)
        except BaseException as fault:
            log.exception("the model thread of %s ended", self._engine.entry.name)
            if isinstance(fault, DeviceLost):
                stopped: Stopped = fault
            else:
                stopped = Stopped(f"the model thread ended: {_describe(fault)}")
                stopped.__cause__ = fault
            self._stats = replace(self._stats, running_since=None)
            self._end(stopped)

    def _next(self) -> list[TicketRow]:
        """Wait for the next micro-batch; none once stopped, when nothing that has begun is left."""
        with self._changed:
            self._at_work = False
            while True:
                limits = replace(self._limits, token_budget=min(self._ceiling.tokens, self._cost.budget))
                if self._ended is not None:
                    limits = replace(limits, wait=0.0)  # no company will come
                now = self._clock()
                decision = plan(self._waiting, limits, now)
                if isinstance(decision, Plan):
                    self._budget = limits.token_budget
                    self._places = self._places_of(decision.longest)
                    return self._begin(decision.keys, now)
                if decision is None and self._ended is not None:
                    return []
                self._changed.wait(None if decision is None else decision.until - now)

    def _begin(self, keys: Sequence[int], now: float) -> list[TicketRow]:
        self._began = now
        self._at_work = True
        rows = []
        queued = self._stats.queued_seconds
        for key in keys:
            ticket = self._by_key.pop(key)
            ticket.begun = True
            place = key - ticket.keys.start
            rows.append(TicketRow(ticket, place, ticket.rows[place]))
            queued += now - ticket.submitted
        self._stats = replace(self._stats, queued_seconds=queued)
        return rows

    def _compute(self, rows: list[TicketRow]) -> None:
        """Run one micro-batch, in ever smaller parts where it fails, until each row has its outcome.

        Parts are cut in the order of length, so that the shorter half of what did not fit is the smaller one.
        A row that fails alone is to blame itself; one bad row among n takes about 2 log2(n) runs to find.
        """
        parts = [rows]
        while parts:
            part = [row for row in parts.pop() if not row.ticket.closed]
            if not part:
                continue
            code = self._attempt(part)
            if code is None and len(part) == len(rows):
                self._learn(part)
            if code is RowError.OUT_OF_MEMORY:
                free_cached()
            if code is not None and len(part) > 1:
                part.sort(key=lambda row: row.unit.tokens)
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]

    def _learn(self, rows: Sequence[TicketRow]) -> None:
        """Planning and delivering are part of what a micro-batch costs: an engine may be faster than they are."""
        tokens = sum(max(1, row.unit.tokens) for row in rows)
        self._cost.observe(self._size([row.unit for row in rows]), tokens, self._clock() - self._began)

    def _size(self, units: Sequence[Prepared]) -> int:
        """The tokens that the device computes for a micro-batch, padding included."""
        lengths = [max(1, unit.tokens) for unit in units]
        return max(lengths) * len(lengths) if self._limits.pads else sum(lengths)

    def _attempt(self, part: list[TicketRow]) -> RowError | None:
        """Call the engine once, and deliver; say what went wrong. A row that is alone has its failure delivered.

        Raises:
            DeviceLost: the engine will not work again in this process.
        """
        units = [row.unit for row in part]
        longest = max(1, *(unit.tokens for unit in units))
        padded = self._size(units)
        started = self._clock()
        self._stats = replace(self._stats, running_since=started)
        outcomes: Sequence[Outcome] = ()
        code = None
        try:
            outcomes = self._engine.run(units)
            check_outcomes(units, outcomes)
        except Exception as fault:
            if is_device_lost(fault):
                raise DeviceLost(_describe(fault)) from fault
            code = RowError.OUT_OF_MEMORY if is_out_of_memory(fault) else RowError.ENGINE
            outcomes = ()
            if len(part) == 1:
                self._log(units[0], fault)
                outcomes = [Failed(units[0].row, code, _describe(fault), units[0].sample)]
        with self._changed:
            room = min(self._budget, longest * self._limits.max_rows)
            self._stats = self._stats.after(part, padded, room, self._clock() - started, code)
            if code is None:
                self._ceiling.worked(padded)
            elif code is RowError.OUT_OF_MEMORY and len(part) > 1:
                self._ceiling.failed(padded)
            self._deliver(zip(part, outcomes, strict=False))  # none, when the part is to be halved
        return code

    def _deliver(self, outcomes: Iterable[tuple[TicketRow, Outcome]]) -> None:
        for row, outcome in outcomes:
            if row.ticket.deliver(row.place, outcome):
                self._open.discard(row.ticket)

    def _join(self, running: Sequence[TicketRow]) -> list[TicketRow]:
        """Rows that join those that are being decoded, as far as the budget and the number of places allow."""
        with self._changed:
            tokens = [row.unit.tokens for row in running]
            beside = Beside(len(tokens), max(tokens, default=0), sum(tokens))
            places = self._places = self._places_of(beside.longest)
            if running and (places - len(running)) * REFILL_SHARE < places:
                return []
            limits = replace(self._limits, token_budget=self._ceiling.tokens, wait=0.0, beside=beside)
            now = self._clock()
            decision = plan(self._waiting, limits, now)
            if not isinstance(decision, Plan):
                return []
            self._ceiling.worked(beside.longest * beside.count)
            return self._begin(decision.keys, now)

    def _after_step(
        self, outcomes: Sequence[tuple[TicketRow, Outcome]], joined: Sequence[TicketRow], running: int, seconds: float
    ) -> None:
        with self._changed:
            self._stats = self._stats.stepped(len(outcomes), joined, running, self._places, seconds)
            self._deliver(outcomes)

    def _places_of(self, longest: int) -> int:
        """How many rows can be decoded together while the longest of them has so many tokens."""
        return min(self._limits.max_rows, self._ceiling.tokens // max(1, longest))

    def _log(self, unit: Prepared, fault: Exception) -> None:
        """Log a row's failure, with the traceback when it is the first from that line of code."""
        trace = fault.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = ("", 0) if trace is None else (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
        log.error(
            "row %d failed alone in %s: %s",
            unit.row,
            self._engine.entry.name,
            _describe(fault),
            exc_info=None if place in self._traced else fault,
        )
        self._traced.add(place)

    def _close(self, ticket: Ticket, fault: Stopped | None = None) -> None:
        """Release a ticket's waiter, with the fault or as cancelled, and drop its waiting rows."""
        with self._changed:
            if ticket.closed:
                return
            self._open.discard(ticket)
            waiting = [key for key in ticket.keys if self._by_key.pop(key, None) is not None]
            self._waiting.discard(waiting, job=ticket.job)
            ticket.release(None if fault is None else _again(fault))

    def _end(self, fault: Stopped) -> None:
        """Take no more rows and release every ticket that is open."""
        with self._changed:
            self._ended = self._ended or fault
            for ticket in list(self._open):
                self._close(ticket, fault)
            self._changed.notify()


def _describe(fault: BaseException) -> str:
    """The error as one line, fit for an outcome's message."""
    lines = str(fault).strip().splitlines()
    return f"{type(fault).__name__}: {lines[0]}" if lines else type(fault).__name__


def _again(fault: Stopped) -> Stopped:
    """The same fault for one more waiter: raising one instance in several threads would mix up its tracebacks."""
    copy = type(fault)(*fault.args)
    copy.__cause__ = fault.__cause__
    return copy
