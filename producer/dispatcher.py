"""The dispatcher: keeps a small window of messages in Redis, fair between jobs, and mends what was lost.

One leads by lease, standbys poll. It holds no state that matters: whatever is killed, the ledger tells the next one.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import defaultdict

from producer.broker import Broker
from producer.counts import DispatcherCounts, Return
from producer.fair import Times, choose
from schemas.database import Connection, Database, connect, reachable
from schemas.errors import RowError, ServerUnavailable
from schemas.ledger import cuts, dispatches, jobs, leases
from schemas.ledger.dispatches import Lane
from schemas.ledger.outlook import Outlook, look, workers

log = logging.getLogger(__name__)

ROLE = "dispatcher"
BUSY_TICK = 0.02  # seconds between looks while batches are sent
STEADY_TICK = 0.08  # while they only run: a look costs some milliseconds of processor time
IDLE_TICK = 0.5
CARE_EVERY = 0.5  # seconds between looks for what was lost
LOST_AFTER = 3.0  # seconds until a message that left its queue unclaimed is sent again
OVERTAKEN_AFTER = 10.0  # seconds behind a message that was sent later and is being worked on
LEAST_WINDOW = 2  # messages
CUT_AHEAD = 64  # pending batches that each job has ready
SUSPECT_CRASHES = 2  # a batch that crashed among others and then alone is split; a lone row fails


class Dispatcher:
    """Call `run` in the main thread; set `stop` to end it."""

    def __init__(self, database: Database, broker: Broker, lease_seconds: float) -> None:
        self._database = database
        self._broker = broker
        self._lease_seconds = lease_seconds
        self._holder = f"{socket.gethostname()}:{os.getpid()}"
        self._times: defaultdict[str, Times] = defaultdict(Times)  # of each queue's fair share
        self._cared_at = 0.0
        self._led_until = 0.0
        self._seen_at = 0.0
        self._here_since = 0.0
        self._listener: Connection | None = None
        self.counts = DispatcherCounts()
        self.stop = threading.Event()

    @property
    def leads(self) -> bool:
        """Whether this one leads, as far as it knows."""
        return time.monotonic() < self._led_until

    def run(self) -> None:
        """Dispatch until stopped, outliving outages of PostgreSQL and of the broker."""
        while not self.stop.is_set():
            try:
                listener = self._listen()  # before looking, so that no notice falls between look and sleep
                with self.counts.tick():
                    wait = self.tick()
                self._sleep(listener, wait)
            except ServerUnavailable as fault:
                log.warning("%s", fault)
                self._led_until = 0.0
                self._forget_listener()
                self.stop.wait(1.0)
        try:
            leases.resign(self._database, ROLE, self._holder)
        except ServerUnavailable:
            log.warning("could not resign: a standby takes over in %.0f s", self._lease_seconds)
        self._forget_listener()

    def tick(self) -> float:
        """Do what is due once; returns the seconds until the next look."""
        if not self._lead():
            return self._lease_seconds / 3
        if time.monotonic() - self._cared_at >= CARE_EVERY:
            self._care()
            self._cared_at = time.monotonic()
        seen = look(self._database, CUT_AHEAD)
        if made := cuts.cut(self._database, CUT_AHEAD) if seen.uncut else 0:
            seen = look(self._database, CUT_AHEAD)
        # Where slots are free first: a batch that several queues may take is then begun at once.
        lanes = sorted(seen.lanes.values(), key=lambda lane: seen.messages[lane.queue] - seen.slots[lane.queue].free)
        sent = sum(self._fill(lane, seen) for lane in lanes)
        for job in jobs.finish(self._database) if seen.complete else ():
            log.info("job %d is done", job)
        return BUSY_TICK if made or sent else STEADY_TICK if seen.live else IDLE_TICK

    def _lead(self) -> bool:
        """Renew the leadership when a third of its time has gone."""
        now = time.monotonic()
        if now < self._led_until - self._lease_seconds * 2 / 3:
            return True
        if not leases.lead(self._database, ROLE, self._holder, self._lease_seconds):
            self._led_until = 0.0
            return False
        if self._led_until == 0.0:
            log.info("%s leads", self._holder)
        self._led_until = now + self._lease_seconds
        return True

    def _care(self) -> None:
        """Find the dead and the lost."""
        if self._was_here():
            for worker in leases.close_lapsed(self._database, self._lease_seconds):
                log.warning("worker %s was silent for %.0f s; its batches go to others", worker, self._lease_seconds)
                self.counts.lapsed += 1
        if expired := dispatches.expire(self._database):
            self.counts.returned[Return.WORKER_GONE] += expired
            log.warning("%d batches return from workers that are gone", expired)
        self._isolate_suspects()
        if self._broker.was_emptied():
            recalled = dispatches.recall(self._database)
            self._broker.mark()
            self.counts.returned[Return.BROKER_EMPTY] += recalled
            log.info("the broker is empty: %d batches will be sent again", recalled)
        with self._database.transaction() as connection:
            queues, (served, _) = dispatches.queues(connection), workers(connection)
        for queue in queues:
            if queue not in served:
                if stranded := dispatches.recall(self._database, queue):
                    self.counts.returned[Return.STRANDED] += stranded
                    log.warning("%d messages of %s return: none of its workers is live", stranded, queue)
                continue
            empty = self._broker.depth(queue) == 0
            if empty and (lost := dispatches.recall(self._database, queue, LOST_AFTER)):
                self.counts.returned[Return.LOST] += lost
                log.warning("%d messages of %s were lost and will be sent again", lost, queue)
            if overtaken := dispatches.recall_overtaken(self._database, queue, OVERTAKEN_AFTER):
                self.counts.returned[Return.OVERTAKEN] += overtaken
                log.warning("%d messages of %s were overtaken and will be sent again", overtaken, queue)

    def _was_here(self) -> bool:
        """Whether this process has looked on without a gap for the length of a lease.

        After a suspended machine or a cut network nobody could renew, so everyone gets the time to do so first.
        """
        now = time.time()  # unlike the monotonic clock it goes on while the machine is suspended
        if not 0.0 <= now - self._seen_at <= self._lease_seconds / 2:
            self._here_since = now
        self._seen_at = now
        return now - self._here_since >= self._lease_seconds

    def _isolate_suspects(self) -> None:
        with self._database.transaction() as connection:
            suspects = dispatches.suspects(connection, SUSPECT_CRASHES)
        for batch, rows in suspects:
            if rows > 1:
                dispatches.split(self._database, batch)
                log.warning("batch %d was running in %d crashes: split to isolate the cause", batch, SUSPECT_CRASHES)
            else:
                message = "the worker died of this row, or gave it up, more than once"
                dispatches.fail(self._database, batch, RowError.WORKER_CRASH, message)

    def _fill(self, lane: Lane, seen: Outlook) -> int:
        """Top up one queue. The window is a quarter of the slots: enough to keep them busy, and fair.

        A job that holds a place leaves the window's last one, and a slot of each worker that has several, to others:
        a small job that comes beside a large one is then computed at once.
        """
        slots = seen.slots[lane.queue]
        messages, holding = seen.messages[lane.queue], seen.holding[lane.queue]
        room = max(LEAST_WINDOW, slots.total // 4) - messages
        for_holders = min(room - 1, slots.free - messages - slots.spare) if slots.spare else room - 1
        if room <= 0 or not seen.waiting[lane.queue] - (holding if for_holders <= 0 else set()):
            return 0
        with self._database.transaction() as connection:
            waiting = dispatches.waiting(connection, lane, room)
        choice = choose(waiting, room, self._times[lane.queue], holding, kept=room - max(0, for_holders))
        if not choice.batches:
            return 0
        self._times[lane.queue] = choice.times
        handed = dispatches.dispatch(self._database, choice.batches, lane.queue)
        self._broker.publish(lane.queue, handed)
        self.counts.messages[lane.queue] += len(handed)
        return len(handed)

    def _listen(self) -> Connection:
        if self._listener is None:
            self._listener = connect(self._database.url)
            self._listener.execute("LISTEN sciqueue")
        return self._listener

    def _sleep(self, listener: Connection, seconds: float) -> None:
        """Sleep, but wake at once for a job that is submitted or changed."""
        if seconds <= BUSY_TICK:
            self.stop.wait(seconds)
            return
        with reachable():
            list(listener.notifies(timeout=seconds, stop_after=1))

    def _forget_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
