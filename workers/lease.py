"""A worker's lease: taken at the start, renewed by a heartbeat thread on a connection of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from schemas.database import Connection, Database, connect, reachable
from schemas.errors import LeaseLost, ServerUnavailable
from schemas.ledger import leases

log = logging.getLogger(__name__)

RETRY = 0.5  # seconds until the next try while PostgreSQL is away


class LeaseKeeper:
    """Holds one lease at a time. When the dispatcher has closed it, `on_lost` is called and a new one is taken.

    `on_broken` is called if the heartbeat cannot go on: a worker without one would take batches and have them refused.
    """

    def __init__(
        self,
        database: Database,
        info: leases.WorkerInfo,
        seconds: float,
        *,
        on_lost: Callable[[], None],
        on_broken: Callable[[], None],
    ) -> None:
        self._database = database
        self._info = info
        self._seconds = seconds
        self._on_lost = on_lost
        self._on_broken = on_broken
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.id = 0

    def start(self) -> None:
        """Take a lease, waiting for PostgreSQL if need be, and begin to renew it."""
        while not self._stop.is_set():
            try:
                self.id = leases.take(self._database, self._info, self._seconds)
                break
            except ServerUnavailable as fault:
                log.warning("%s", fault)
                self._stop.wait(RETRY)
        self._thread.start()

    def drain(self) -> None:
        """Say that this worker takes no new batch. If PostgreSQL is away nothing is lost: what comes is left."""
        self._info = replace(self._info, queues=[])  # for a lease that must be taken anew meanwhile
        with suppress(ServerUnavailable):  # then batches that come are handed back one by one
            leases.drain(self._database, self.id)

    def stop(self) -> None:
        """Stop renewing and give the lease back; what is still held returns to pending without blame."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(self._seconds)
        try:
            leases.close(self._database, self.id)
        except ServerUnavailable as fault:
            log.warning("the lease lapses by itself: %s", fault)

    def _beat(self) -> None:
        try:
            self._renew_until_stopped()
        except Exception:
            log.exception("the heartbeat broke off")
            self._on_broken()

    def _renew_until_stopped(self) -> None:
        connection: Connection | None = None
        while not self._stop.wait(self._seconds / 3 if connection else RETRY):
            try:
                connection = connection or connect(self._database.url)
                with reachable():
                    leases.renew(connection, self.id, self._seconds)
            except LeaseLost as lost:
                log.warning("%s", lost)
                self._on_lost()
                connection = self._take_again(connection)
            except ServerUnavailable as fault:
                log.warning("heartbeat: %s", fault)
                connection = None
        if connection is not None:
            connection.close()

    def _take_again(self, connection: Connection | None) -> Connection | None:
        try:
            self.id = leases.take(self._database, self._info, self._seconds)
        except ServerUnavailable:
            return None
        return connection
