"""Does an engine's work that needs no device: in processes beside the worker where it would hold the interpreter.

A model thread that waits for the interpreter is an idle device, so RDKit and the like run in a pool of processes. A row
that hangs there, or that ends its process, is found by trying the rows of its chunk one at a time: it fails alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from schemas.errors import RowError, UsageError
from schemas.items import Item, Rejected
from schemas.outcomes import Failed, Outcome
from workers.engines.contract import CpuWork, FinishingWork, Prepared
from workers.preparers import NoProcess, Preparers, ProcessEnded, Work
from workers.tickets import Stopped

log = logging.getLogger(__name__)

CHUNK = 16  # rows handed over at a time: fewer cost more transport, more are lost together
IN_THREADS = 2  # batches prepared at a time where no process does it: more would only compete for the interpreter
STOPPING = 2.0  # seconds for rows under way when the worker stops

Row = TypeVar("Row", Item, Outcome)
Made = Sequence[Prepared | Failed]


class Workshop:
    """One model's `CpuWork`, shared by all threads of a worker."""

    def __init__(self, cpu: CpuWork, processes: int = 0, row_seconds: float = 10.0) -> None:
        """Heavy work is done by so many processes; by the calling threads if there are none.

        A row may take half of its `row_seconds` there, so that a batch with a row that hangs still meets its deadline.
        """
        self._cpu = cpu
        self._row_seconds = row_seconds
        self._limit = row_seconds / 2
        self._in_threads = threading.BoundedSemaphore(IN_THREADS)
        self._preparers = Preparers(cpu, processes, self._limit) if processes and cpu.heavy else None

    def due(self, rows: int) -> float:
        """By when a batch of so many rows that begins now is due (`time.monotonic`).

        What is due earlier goes first: so batches of one size go in their order, and a small one passes large ones.
        """
        return time.monotonic() + self._row_seconds * rows

    def prepare(
        self, items: Sequence[Item], parameters: dict[str, Any], samples: int, due: float | None = None
    ) -> tuple[list[Prepared], list[Failed]]:
        """The units for the device, and the rows that have failed already: together one for each row and sample.

        `due` is the batch's, as it was when it began; None: it begins now.

        Raises:
            UsageError: a parameter is unknown or out of its range.
            Stopped: the workshop takes no more rows.
        """

        def failed(item: Item, code: RowError, reason: str) -> Made:
            return _failures(item, code, reason, samples)

        made = self._do(_prepare, items, (parameters, samples), failed, due)
        units = [unit for part in made for unit in part if isinstance(unit, Prepared)]
        return units, [unit for part in made for unit in part if isinstance(unit, Failed)]

    def finish(self, outcomes: Sequence[Outcome], due: float | None = None) -> list[Outcome]:
        """The outcomes of the device, completed where there is something left to do, in their order.

        `due` as in `prepare`.

        Raises:
            Stopped: the workshop takes no more rows.
        """

        def failed(outcome: Outcome, code: RowError, reason: str) -> Outcome:
            return Failed(outcome.row, code, reason, outcome.sample)

        if not isinstance(self._cpu, FinishingWork):
            return list(outcomes)  # without the way through another process
        return self._do(_finish, outcomes, (), failed, due)

    @property
    def start_seconds(self) -> float:
        """What its processes took to start; 0 before they have, or where there are none."""
        return 0.0 if self._preparers is None else self._preparers.start_seconds

    def stop(self) -> None:
        """Take no more rows, give what is under way a moment, and end the processes."""
        if self._preparers is not None:
            self._preparers.stop(STOPPING)

    def _do(
        self,
        work: Work,
        rows: Sequence[Row],
        given: tuple[Any, ...],
        failed: Callable[[Row, RowError, str], Any],
        due: float | None,
    ) -> list[Any]:
        """`work(cpu, rows, *given)` over all rows, in chunks and in order; `failed` makes a row's failure."""
        if self._preparers is None:
            with self._in_threads:
                return work(self._cpu, rows, *given)
        due = self.due(len(rows)) if due is None else due
        chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
        handed_over = [self._hand_over(work, chunk, given, due) for chunk in chunks]
        done: list[Any] = []
        try:
            for chunk, future in zip(chunks, handed_over, strict=True):
                try:
                    done += _result(future)
                except (TimeoutError, ProcessEnded) as fault:
                    done += self._one_by_one(work, chunk, given, failed, due, fault)
        finally:
            for future in handed_over:
                future.cancel()  # of no use any more, if one has failed for all
        return done

    def _one_by_one(
        self,
        work: Work,
        chunk: Sequence[Row],
        given: tuple[Any, ...],
        failed: Callable[[Row, RowError, str], Any],
        due: float,
        fault: Exception,
    ) -> list[Any]:
        """The rows of a chunk that hung or lost its process: each by itself, so that only the guilty one fails."""
        done: list[Any] = []
        for row in chunk:
            try:
                if len(chunk) == 1:
                    raise fault
                done += _result(self._hand_over(work, [row], given, due))
            except TimeoutError:
                done.append(failed(row, RowError.TIMEOUT, f"not prepared within {self._limit:g} s"))
            except ProcessEnded as ended:
                reason = f"ended the process that prepared it, with status {ended.status}"
                done.append(failed(row, RowError.WORKER_CRASH, reason))
        return done

    def _hand_over(self, work: Work, rows: Sequence[Row], given: tuple[Any, ...], due: float) -> Future[list[Any]]:
        assert self._preparers is not None  # noqa: S101 - rows are handed over only where there are processes
        try:
            return self._preparers.call(work, rows, given, due)
        except NoProcess as fault:
            raise Stopped(str(fault)) from fault


def _result(future: Future[list[Any]]) -> list[Any]:
    try:
        return future.result()
    except (CancelledError, NoProcess) as fault:
        raise Stopped("no process takes rows any more") from fault


def _prepare(cpu: CpuWork, items: Sequence[Item], parameters: dict[str, Any], samples: int) -> list[Made]:
    return [_prepare_item(cpu, item, parameters, samples) for item in items]


def _finish(cpu: FinishingWork, outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome if isinstance(outcome, Failed) else cpu.finish(outcome) for outcome in outcomes]


def _prepare_item(cpu: CpuWork, item: Item, parameters: dict[str, Any], samples: int) -> Made:
    if isinstance(item.content, Rejected):
        return _failures(item, item.content.code, item.content.message, samples)
    try:
        prepared = cpu.prepare(item, parameters)
    except UsageError:  # the job's parameters, not this row
        raise
    except Exception as fault:  # an engine's own mistake costs this row, not the batch
        log.exception("row %d could not be prepared", item.row)
        return _failures(item, RowError.ENGINE, f"{type(fault).__name__}: {fault}", samples)
    first = prepared[0]
    if isinstance(first, Failed) and len(prepared) < samples:
        return _failures(item, first.code, first.message, samples)
    return prepared


def _failures(item: Item, code: RowError, message: str, samples: int) -> list[Failed]:
    return [Failed(item.row, code, message, sample) for sample in range(samples)]
