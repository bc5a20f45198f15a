"""Flower, behind a password that never stands in a command line: `sciqueue flower`, or started by the stack."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from celery import Celery
from kombu import Queue

from schemas.endpoints import find_broker
from schemas.items import SUSPECTS, Task
from schemas.lifeline import end_with
from schemas.settings import Settings, load_settings

MAX_TASKS = 10_000  # kept in memory, about 4.5 kB each; the ledger has them all
SAVE_EVERY = 30.0  # seconds between two saves of what it knows, so that a kill costs it no more
FORGOTTEN_AFTER = 3600.0  # seconds until a worker that has gone leaves the page: pods have new names each time


@dataclass(frozen=True, slots=True)
class Page:
    """Where it serves, below which path, and to whom: `user:password`, or empty for everybody."""

    address: str = "127.0.0.1"
    port: int = 5555
    prefix: str = ""
    auth: str = ""


def serve(page: Page, settings: Settings) -> None:
    """Serve until stopped. What it knows of tasks and workers survives its restarts, in `run/flower.db`."""
    settings.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    app = Celery("sciqueue", broker=find_broker(settings))
    # What its page of the broker lists while it has not heard of the workers' queues: else a `celery` that is not ours.
    queues = [*(task.queue for task in Task), SUSPECTS]
    app.conf.update(task_queues=[Queue(name) for name in queues], task_default_queue=queues[0])
    app.start(
        [
            *("flower", f"--address={page.address}", f"--port={page.port}", f"--max_tasks={MAX_TASKS}"),
            *("--persistent=true", f"--db={settings.run_dir / 'flower.db'}"),
            *(f"--state_save_interval={SAVE_EVERY * 1000:.0f}", f"--purge_offline_workers={FORGOTTEN_AFTER:.0f}"),
            *([f"--url_prefix={page.prefix.strip('/')}"] if page.prefix else []),
            *([f"--basic-auth={page.auth}"] if page.auth else []),
            "--tasks_columns=name,kwargs,state,received,runtime,worker",
            "--logging=warning",
        ]
    )


def main() -> None:
    """Serve for the stack, on this machine alone. The password is read from standard input."""
    arguments = argparse.ArgumentParser(prog="producer.flower")
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--parent", type=int, required=True)
    options = arguments.parse_args()
    end_with(options.parent)
    serve(Page(port=options.port, auth=sys.stdin.readline().strip()), load_settings())


if __name__ == "__main__":
    main()
