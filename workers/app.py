"""The Celery application of a worker process, and the one task it serves.

Celery brings messages and shows them to Flower; what may be lost or repeated on that way is made good by the ledger.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celery import Celery
from celery.signals import worker_init, worker_shutdown, worker_shutting_down

from schemas.database import Database
from schemas.items import sized
from schemas.ledger.leases import WorkerInfo
from schemas.message import TASK_NAME, BatchMessage
from schemas.settings import Settings
from workers.devices import processes_beside
from workers.lease import LeaseKeeper
from workers.runner import Runner
from workers.shelf import Shelf
from workers.tickets import DeviceLost
from workers.traces import Traces, traces_of
from workers.trainer import Trainer
from workers.watchdog import Watchdog

log = logging.getLogger(__name__)

START_AGAIN = 75  # exit status: EX_TEMPFAIL
SAME_SIGNAL = 0.5  # seconds in which signals count as one: a service manager tells all, and the supervisor tells us
LAST_SECONDS = 5.0  # after the drain, until the process ends whatever still hangs


@dataclass(frozen=True, slots=True)
class Worker:
    """The parts of one worker process, wired together."""

    app: Celery
    keeper: LeaseKeeper
    runner: Runner
    shelf: Shelf
    watchdog: Watchdog
    database: Database
    traces: Traces | None


def make_worker(info: WorkerInfo, database_url: str, broker_url: str, settings: Settings) -> Worker:
    """Put a worker together. Nothing is connected before Celery starts it."""
    database = Database(database_url, size=min(4, info.slots + 1))
    processes = processes_beside(settings.prepare_processes)
    shelf = Shelf(database, info.device, slots=info.slots, processes=processes, bound=settings.model_memory)
    traces = traces_of(info.worker, settings.telemetry)
    runner = Runner(database, shelf, Trainer(database, info.device, settings.drain_seconds), traces)
    keeper = LeaseKeeper(
        database, info, settings.lease_seconds, on_lost=runner.abandon, on_broken=lambda: end_process(START_AGAIN)
    )
    app = make_app(broker_url, lambda message: runner.run(message, keeper))
    watchdog = Watchdog(shelf, runner, on_stuck=lambda: end_process(START_AGAIN))
    worker = Worker(app, keeper, runner, shelf, watchdog, database, traces)
    _connect_signals(worker, settings.drain_seconds)
    return worker


def make_app(broker_url: str, run: Callable[[BatchMessage], str]) -> Celery:
    """The Celery application whose single task hands each message to `run`."""
    app = Celery("sciqueue", broker=broker_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,  # results go to PostgreSQL with the batch's state
        task_acks_late=False,  # the ledger brings back what a dead worker took along; see CONTRIBUTING.md
        worker_disable_prefetch=True,  # a message leaves Redis only for a free slot
        worker_send_task_events=True,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={"socket_timeout": 20, "socket_connect_timeout": 5, "health_check_interval": 10},
    )

    @app.task(name=TASK_NAME, ignore_result=True)
    def run_batch(**wire: Any) -> None:
        message = BatchMessage.from_wire(wire)
        try:
            run(message)
        except DeviceLost:
            log.exception("the device is lost to this process")
            end_process(START_AGAIN)

    return app


def serve(worker: Worker, info: WorkerInfo) -> None:
    """Consume messages until stopped by a signal."""
    queues = ",".join(sized(queue, info.memory) for queue in info.queues)
    worker.app.worker_main(
        [
            *("worker", "--pool=threads", f"--concurrency={info.slots}", f"--hostname={info.worker}"),
            *(f"--queues={queues}", "--task-events", "--without-gossip", "--without-mingle"),
            "--loglevel=INFO",
        ]
    )


def end_process(status: int) -> None:
    """End at once, without waiting for threads that may hang in the device."""
    logging.shutdown()
    os._exit(status)


def _connect_signals(worker: Worker, drain: float) -> None:
    """Start and stop our parts with Celery's own. (`worker_process_init` never fires in its threads pool.)"""

    def start(**_: Any) -> None:
        try:
            worker.keeper.start()
            worker.watchdog.start()
        except Exception:  # Celery would log it and go on without a lease, to have every batch refused
            log.exception("the worker cannot start")
            end_process(START_AGAIN)

    asked = 0.0  # when the first signal came

    def drain_in_background(**_: Any) -> None:
        nonlocal asked
        if not asked:
            asked = time.monotonic()
            # Celery waits for running tasks without a limit, so the limit is ours.
            threading.Thread(target=worker.runner.stop, args=(drain,), name="drain", daemon=True).start()
            threading.Thread(target=worker.keeper.drain, name="lease", daemon=True).start()
            limit(drain)
        elif time.monotonic() - asked > SAME_SIGNAL:
            threading.Thread(target=worker.runner.hurry, name="hurry", daemon=True).start()
            limit(0.0)

    def limit(seconds: float) -> None:
        last = threading.Timer(seconds + LAST_SECONDS, end_late)
        last.daemon = True
        last.start()

    def end_late() -> None:
        worker.shelf.report()
        # With the lease given back, what still hangs here is not taken for a crash.
        closing = threading.Thread(target=worker.keeper.stop, daemon=True)
        closing.start()
        closing.join(LAST_SECONDS / 2)
        end_process(0)

    def stop(**_: Any) -> None:
        worker.shelf.report()
        worker.keeper.stop()
        worker.database.close()
        if worker.traces is not None:
            worker.traces.close()

    worker_init.connect(start, weak=False)
    worker_shutting_down.connect(drain_in_background, weak=False)
    worker_shutdown.connect(stop, weak=False)
