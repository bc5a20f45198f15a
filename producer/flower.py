"""Flower, behind a password that never stands in a command line: `python -m producer.flower`, started by the stack."""

from __future__ import annotations

import argparse
import sys

from celery import Celery

from schemas.endpoints import find_servers
from schemas.lifeline import end_with
from schemas.settings import load_settings

MAX_TASKS = 10_000  # kept in memory, about 4.5 kB each; the ledger has them all


def main() -> None:
    """Serve until stopped. `user:password` is read from standard input; empty means: no password."""
    arguments = argparse.ArgumentParser(prog="producer.flower")
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--parent", type=int, required=True)
    options = arguments.parse_args()
    end_with(options.parent)
    auth = sys.stdin.readline().strip()
    app = Celery("sciqueue", broker=find_servers(load_settings()).broker_url)
    app.start(
        [
            *("flower", "--address=127.0.0.1", f"--port={options.port}", f"--max_tasks={MAX_TASKS}"),
            *([f"--basic-auth={auth}"] if auth else []),
            "--tasks_columns=name,kwargs,state,received,started,runtime,worker,uuid",
            "--logging=warning",
        ]
    )


if __name__ == "__main__":
    main()
