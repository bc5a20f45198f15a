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
from concurrent.futures import Future, ThreadPoolExecutor
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


class Preparers:
    """So many processes, each with a copy of one `CpuWork`."""

    def __init__(self, cpu: CpuWork, processes: int, limit: float) -> None:
        """A call may take `limit` seconds."""
        self._cpu = cpu
        self._limit = limit
        self._lock = threading.Lock()
        self._running: set[Preparer] = set()
        self.start_seconds = 0.0  # the longest that a process took until it could work
        self._stopping = False
        self._own = threading.local()
        # The threads live as long as this, and with them their processes: Linux ends a child that asked for it with
        # the thread that started it, not with the process.
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="preparer")

    def call(self, work: Work, rows: Sequence[Any], given: Sequence[Any]) -> Future[list[Any]]:
        """`work(cpu, rows, *given)`, in the order of calls. The future raises what `work` does, or:

        TimeoutError: it took longer than the limit. ProcessEnded: it ended its process. NoProcess: see there.

        Raises:
            NoProcess: stopped.
        """
        try:
            return self._threads.submit(self._call, work, rows, given)
        except RuntimeError as fault:
            raise NoProcess(str(fault)) from fault

    def stop(self, drain: float) -> None:
        """Take no more calls, cancel those that wait, give the others `drain` seconds, and end the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        ended = threading.Thread(target=self._threads.shutdown, daemon=True)
        ended.start()
        ended.join(drain)
        with self._lock:
            self._stopping = True
            for preparer in self._running:
                preparer.end()
        ended.join(GONE)  # the threads of the processes that were busy have seen them end
        for preparer in self._running:
            preparer.join()

    def _call(self, work: Work, rows: Sequence[Any], given: Sequence[Any]) -> list[Any]:
        preparer = self._mine()
        try:
            return preparer.call(work, rows, given, self._limit)
        except (TimeoutError, ProcessEnded) as fault:
            self._own.preparer = None
            with self._lock:
                self._running.discard(preparer)
                if self._stopping:
                    raise NoProcess("the worker is stopping") from fault
            preparer.end()
            preparer.join()
            raise

    def _mine(self) -> Preparer:
        """The process of the calling thread, started if it has none."""
        preparer: Preparer | None = getattr(self._own, "preparer", None)
        if preparer is None:
            with self._lock:
                if self._stopping:
                    raise NoProcess("the worker is stopping")
                preparer = Preparer(self._cpu)
                self._running.add(preparer)
            began = time.monotonic()
            preparer.await_ready()
            self.start_seconds = max(self.start_seconds, time.monotonic() - began)
            self._own.preparer = preparer
        return preparer


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
