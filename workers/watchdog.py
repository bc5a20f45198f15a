"""A heartbeat tells that the process lives, not that it works: one that is stuck is ended, and started again.

Three ways to be stuck are noticed: the device does not answer, a batch is far past its deadline, and something holds
the interpreter so that no Python thread runs at all (`faulthandler`'s own thread needs no interpreter).
"""

from __future__ import annotations

import faulthandler
import logging
import threading
import time
from collections.abc import Callable

from workers.runner import Runner
from workers.shelf import Shelf

log = logging.getLogger(__name__)

EVERY = 2.0  # seconds
ALLOWANCE = 6.0  # a micro-batch may take so many times what one row may
FROZEN_AFTER = 60  # seconds without a turn for any Python thread


class Watchdog:
    """Watches one process; `on_stuck` is to end it."""

    def __init__(self, shelf: Shelf, runner: Runner, on_stuck: Callable[[], None]) -> None:
        self._shelf = shelf
        self._runner = runner
        self._on_stuck = on_stuck

    def start(self) -> None:
        """Begin to watch, in a thread of its own."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _watch(self) -> None:
        while True:
            # Put off for as long as this loop turns. Celery has put a log in the place of stderr.
            faulthandler.dump_traceback_later(FROZEN_AFTER, exit=True, file=2)
            time.sleep(EVERY)
            if stuck := self._find_stuck():
                log.error("%s: ending this process", stuck)
                self._on_stuck()

    def _find_stuck(self) -> str | None:
        for model in self._shelf.loaded():
            limit = model.engine.entry.limits.row_seconds * ALLOWANCE
            if model.engine.since is not None and time.monotonic() - model.engine.since > limit:
                return f"{model.engine.entry.name} has not answered for {limit:.0f} s"
        if overdue := self._runner.overdue():
            return f"batch {overdue} is far past its deadline"
        return None
