"""The process behind `sciqueue models bench`: `python -m workers.bench`, with an order and its rows on standard input.

It is a worker without servers: pinned to its device before torch is imported, with the same engine, batcher, cost model
and preparing processes. See `schemas.measured` for what goes in and comes out.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from typing import Any

import psutil

from schemas.errors import ModelUnavailable, SciqueueError
from schemas.lifeline import end_with
from schemas.measured import FailedRows, Measured, Order, SizeRate, from_line
from workers.batcher import Batcher
from workers.cost import CostModel
from workers.devices import (
    Device,
    device_type,
    find_devices,
    processes_beside,
    thread_environment,
    threads_per_process,
)
from workers.engines.contract import ContinuousEngine, Engine
from workers.engines.load import load_engine
from workers.measure import Measurement, Round, cut
from workers.tickets import Stopped
from workers.workshop import Workshop

EVERY = 5.0  # seconds between lines of progress


class PeakMemory:
    """The most that this process and those it started have held at once, looked at ten times a second."""

    def __init__(self) -> None:
        self.bytes = 0
        self._process = psutil.Process()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, resident(self._process))
            time.sleep(0.1)


class Told:
    """Progress as lines on standard error, one from time to time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._said = time.monotonic()

    def __call__(self, doing: str, done: int, total: int) -> None:
        """See `workers.measure.Progress`."""
        if time.monotonic() - self._said >= EVERY:
            self._said = time.monotonic()
            print(f"{doing} {self._name}: {done:,} of {total:,} rows", file=sys.stderr, flush=True)


def main() -> None:
    """Read the order and the rows, measure, and print the figures. Faults end as one line and an exit code."""
    end_with(os.getppid())
    logging.disable(logging.ERROR)  # what goes wrong with rows is among the figures
    try:
        print(bench(Order.model_validate_json(sys.stdin.readline())).model_dump_json(), flush=True)
        os._exit(0)  # without unloading torch under its threads, which ends in an abort now and then
    except SciqueueError as fault:
        print(f"sciqueue: {fault}", file=sys.stderr)
        sys.exit(fault.exit_code)


def bench(order: Order) -> Measured:
    """Measure what was ordered on the rows that standard input has.

    Raises:
        UsageError: there is no such device, or a parameter is out of its range.
        ModelUnavailable: the model cannot be loaded there, or gave up.
    """
    device = _pin(order)
    items = [from_line(line, order.entry.task) for line in sys.stdin]
    processes = processes_beside(order.processes)
    peak = PeakMemory()
    engine, load_seconds = _load(order, device)
    cost = CostModel(engine.entry.limits.token_budget, engine.entry.limits.latency)
    batcher, workshop = Batcher(engine, cost), Workshop(engine.cpu, processes, engine.entry.limits.row_seconds)
    batcher.start()
    batches = cut(items, engine.entry.limits, order.slots)
    told = Told(order.entry.name)
    try:
        done = Measurement(batcher, workshop, batches, order.parameters, order.samples, told).run(order.slots)
    except Stopped as fault:
        raise ModelUnavailable(f"model '{order.entry.name}' gave up: {fault}") from fault
    finally:
        workshop.stop()
        batcher.stop(0.0)
    machine = {
        "device": device_type(device.torch),
        "threads": int(os.environ["OMP_NUM_THREADS"]),
        "processes": processes if engine.cpu.heavy else 0,
        "load_seconds": load_seconds,
        "peak_memory": peak.bytes,
        "device_memory": _device_memory(device),
    }
    return _measured(done, cost, isinstance(engine, ContinuousEngine), machine)


def resident(process: psutil.Process) -> int:
    """The bytes of memory that a process and its descendants hold."""
    held = 0
    for one in (process, *process.children(recursive=True)):
        try:
            held += one.memory_info().rss
        except psutil.Error:  # it has ended
            continue
    return held


def _pin(order: Order) -> Device:
    device = find_devices(order.device.removeprefix("cuda:"))[0]
    os.environ |= device.environment | thread_environment(threads_per_process(1, order.threads))
    return device


def _load(order: Order, device: Device) -> tuple[Engine, float]:
    name = order.entry.name
    print(f"loading {name} on {order.device}", file=sys.stderr, flush=True)
    began = time.monotonic()
    try:
        engine = load_engine(order.entry, device.torch)
    except SciqueueError:
        raise
    except Exception as fault:
        why = (str(fault).strip().splitlines() or [""])[0]
        raise ModelUnavailable(
            f"model '{name}' cannot be loaded on {order.device}: {type(fault).__name__}: {why}"
        ) from fault
    return engine, time.monotonic() - began


def _measured(done: Round, cost: CostModel, continuous: bool, machine: dict[str, Any]) -> Measured:
    """The figures of a round, beside those of the machine."""
    stats = done.stats
    failed = sum(done.failures.values())
    return Measured(
        **machine,
        seconds=done.seconds,
        rows=done.succeeded + failed,
        succeeded=done.succeeded,
        failed=failed,
        failures=[
            FailedRows(code=code, rows=rows, first=done.reasons[code]) for code, rows in done.failures.most_common()
        ],
        rows_per_second=done.rows / done.seconds,
        device_rows_per_second=stats.rows / stats.busy_seconds if stats.busy_seconds else None,
        budget=None if continuous else cost.budget,
        sizes=[
            SizeRate(least=1 << number, most=(2 << number) - 1, tokens_per_second=rate)
            for number, rate in cost.rates().items()
        ],
        micro_batches=stats.micro_batches,
        tokens=stats.tokens,
        padding_waste=stats.padding_waste,
        fill=stats.fill,
        queue_delay=stats.queue_delay,
        busy=min(1.0, stats.busy_seconds / done.seconds),
        halved=stats.oom_splits + stats.fault_splits,
    )


def _device_memory(device: Device) -> int | None:
    if device.torch == "cpu":
        return None
    import torch

    return torch.cuda.max_memory_reserved()


if __name__ == "__main__":
    main()
