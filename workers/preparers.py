"""Processes that do a model's work that needs no device, and what becomes of a call when its process hangs or ends.

Each process belongs to one thread, which sends it one call at a time: so it is always known whose call it was that
ended it, and the process can be ended without a word to others. A process that was lost is replaced with the next call.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

from schemas.lifeline import end_with
from workers.engines.contract import CpuWork

STARTING = 120.0  # seconds until a process must have imported what it works with: a disk may be slow
GONE = 2.0  # seconds until a killed process must be gone

Work = Callable[..., list[Any]]


class ProcessEnded(Exception):
    """The process ended while it worked on the call. `status` as in `Process.exitcode`: negative for a signal."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"ended with status {status}")
        self.status = status


class NoProcess(Exception):
    """A process cannot be started, or none are started any more."""


@dataclass(order=True, slots=True)
class _Call:
    """What waits for a process: the one that is due first goes first, and of those the older one."""

    due: float
    number: int
    work: Work = field(compare=False)
    rows: Sequence[Any] = field(compare=False)
    given: Sequence[Any] = field(compare=False)
    future: Future[list[Any]] = field(compare=False, default_factory=Future)


class Preparers:
    """So many processes, each with a copy of one `CpuWork`."""

    def __init__(self, cpu: CpuWork, processes: int, limit: float) -> None:
        """A call may take `limit` seconds."""
        self._cpu = cpu
        self._limit = limit
        self._changed = threading.Condition()  # guards everything below
        self._waiting: list[_Call] = []  # a heap
        self._numbers = count()
        self._running: set[Preparer] = set()
        self._closed = self._ending = False
        self.start_seconds = 0.0  # the longest that a process took until it could work
        # The threads live as long as this, and with them their processes: Linux ends a child that asked for it with
        # the thread that started it, not with the process.
        self._threads = [
            threading.Thread(target=self._serve, name=f"preparer-{number}", daemon=True) for number in range(processes)
        ]
        for thread in self._threads:
            thread.start()

    def call(self, work: Work, rows: Sequence[Any], given: Sequence[Any], due: float) -> Future[list[Any]]:
        """`work(cpu, rows, *given)`, when nothing that waits is due earlier. The future raises what `work` does, or:

        TimeoutError: it took longer than the limit. ProcessEnded: it ended its process. NoProcess: see there.

        Raises:
            NoProcess: stopped.
        """
        with self._changed:
            if self._closed:
                raise NoProcess("the worker is stopping")
            waiting = _Call(due, next(self._numbers), work, rows, given)
            heappush(self._waiting, waiting)
            self._changed.notify()
        return waiting.future

    def stop(self, drain: float) -> None:
        """Take no more calls, cancel those that wait, give the others `drain` seconds, and end the processes."""
        with self._changed:
            self._closed = True
            for waiting in self._waiting:
                waiting.future.cancel()
            self._waiting.clear()
            self._changed.notify_all()
        self._join(drain)
        with self._changed:
            self._ending = True
            for preparer in self._running:
                preparer.end()
        self._join(GONE)  # the threads of the processes that were busy have seen them end
        for preparer in self._running:
            preparer.join()

    def _join(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _serve(self) -> None:
        """One thread: the calls that fall to it, with a process that is started with the first and after each loss."""
        preparer: Preparer | None = None
        while (waiting := self._next()) is not None:
            if not waiting.future.set_running_or_notify_cancel():
                continue
            try:
                preparer = preparer or self._start()
                made = preparer.call(waiting.work, waiting.rows, waiting.given, self._limit)
            except (TimeoutError, ProcessEnded) as fault:
                assert preparer is not None  # noqa: S101 - starting one raises neither
                ending = self._lose(preparer)
                preparer = None
                waiting.future.set_exception(NoProcess("the worker is stopping") if ending else fault)
            except BaseException as fault:
                waiting.future.set_exception(fault)
            else:
                waiting.future.set_result(made)

    def _next(self) -> _Call | None:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            return heappop(self._waiting) if self._waiting else None

    def _start(self) -> Preparer:
        with self._changed:
            if self._ending:
                raise NoProcess("the worker is stopping")
            preparer = Preparer(self._cpu)
            self._running.add(preparer)
        began = time.monotonic()
        try:
            preparer.await_ready()
        except NoProcess:
            self._lose(preparer)
            raise
        self.start_seconds = max(self.start_seconds, time.monotonic() - began)
        return preparer

    def _lose(self, preparer: Preparer) -> bool:
        """End a process that hangs, or has ended already; whether that was because all are being ended."""
        with self._changed:
            if self._ending:
                return True  # `stop` joins it
            self._running.discard(preparer)
        preparer.end()
        preparer.join()
        return False


class Preparer:
    """One process and the pipe to it."""

    def __init__(self, cpu: CpuWork) -> None:
        # Spawned: neither a device's context nor the threads of this process can be forked.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, cpu, os.getpid()), daemon=True)
        self._process.start()
        theirs.close()

    def await_ready(self) -> None:
        """Wait until it can work.

        Raises:
            NoProcess: it cannot; no call is to blame.
        """
        try:
            self._answer(STARTING)
        except (TimeoutError, ProcessEnded) as fault:
            self.end()
            raise NoProcess(f"a process that prepares rows cannot be started: {fault}") from fault

    def call(self, work: Work, rows: Sequence[Any], given: Sequence[Any], limit: float) -> list[Any]:
        """See `Preparers.call`."""
        try:
            self._pipe.send((work, list(rows), *given))
        except OSError as fault:
            raise self._ended() from fault
        made, raised = self._answer(limit)
        if raised is not None:
            raise raised
        return made  # type: ignore[no-any-return]

    def end(self) -> None:
        """End it, whatever it is doing. May be repeated, and from any thread: who waits for it hears of its end."""
        self._process.kill()

    def join(self) -> None:
        """Wait until it is gone; called by one thread at a time. One that the kernel holds is left to it."""
        self._process.join(GONE)

    def _answer(self, limit: float) -> Any:
        try:
            if not self._pipe.poll(limit):
                raise TimeoutError(f"no answer within {limit:g} s")
            return self._pipe.recv()
        except (EOFError, OSError) as fault:
            if isinstance(fault, TimeoutError):  # which is an OSError
                raise
            raise self._ended() from fault

    def _ended(self) -> ProcessEnded:
        self.join()  # the pipe closes a moment before
        return ProcessEnded(self._process.exitcode)


def _serve(pipe: Connection, cpu: CpuWork, parent: int) -> None:
    """The process: one call after the other, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker, which ends this one in its order
    end_with(parent, signal.SIGKILL)  # whatever a row may be doing here
    pipe.send(None)
    while True:
        try:
            work, rows, *given = pipe.recv()
        except EOFError:
            return
        answer: tuple[list[Any] | None, Exception | None]
        try:
            answer = work(cpu, rows, *given), None
        except Exception as fault:
            answer = None, fault
        pipe.send(answer)
