"""Starting the stack in the background, seeing that it works, and stopping it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg

from producer.servers.embedded import EmbeddedServers
from producer.stack import StackFile, StackInfo, log_file
from schemas.database import connect
from schemas.endpoints import find_database
from schemas.errors import ServerUnavailable
from schemas.items import INFERENCE
from schemas.ledger import leases
from schemas.settings import Settings

START = 120.0  # seconds for everything to come up; a first start makes a database and imports torch
POLL = 0.1


def start(settings: Settings, device: str, report: Callable[[str], None] = lambda _: None) -> StackInfo:
    """Have the stack running and its workers ready; `report` is told what is being waited for.

    Raises:
        ServerUnavailable: it did not come up; the message names the log and its last line.
    """
    file = StackFile(settings)
    process = None
    if file.running() is None:
        settings.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log_file(settings, "stack").open("a") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "producer.stack", "--device", device],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
    deadline = time.monotonic() + START

    def wait(what: str, ready: Callable[[], Any]) -> Any:
        report(what)
        while not (answer := ready()):
            ended = process is not None and process.poll() is not None
            if time.monotonic() > deadline or (ended and file.running() is None):
                raise ServerUnavailable(_why_not(settings, what))
            time.sleep(POLL)
        return answer

    info: StackInfo = wait("servers", file.running)
    wait("servers", lambda: _workers(settings) is not None)
    wait("workers", lambda: _workers(settings))
    wait("Flower", lambda: _listens(info.flower_port))
    return info


def stop(settings: Settings) -> bool:
    """Stop the stack, or what a killed one left of it. False if nothing ran.

    Raises:
        ServerUnavailable: it would not end in time.
    """
    info = StackFile(settings).running()
    if info is not None:
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(info.pid, signal.SIGTERM)
        deadline = time.monotonic() + 2 * settings.drain_seconds + 60.0
        while StackFile(settings).running() is not None:
            if time.monotonic() > deadline:
                raise ServerUnavailable(
                    f"the stack (process {info.pid}) does not stop; see {log_file(settings, 'stack')}"
                )
            time.sleep(POLL)
    servers = EmbeddedServers(settings.home)
    left = servers.postgres.running() or servers.broker.running()
    servers.stop()
    return info is not None or left


def _workers(settings: Settings) -> bool | None:
    """Whether every task has a live worker; None while the database cannot tell."""
    try:
        with connect(find_database(settings)) as connection:
            slots = leases.slots_by_queue(connection)
            return all(task.queue in slots for task in INFERENCE)
    except (ServerUnavailable, psycopg.errors.UndefinedTable):
        return None


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _why_not(settings: Settings, what: str) -> str:
    name = {"servers": "stack", "workers": "worker", "Flower": "flower"}[what]
    log = log_file(settings, name)
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return f"{what} did not come up; see {log}" + (f": {lines[-1]}" if lines else "")
