"""A heartbeat tells that the process lives, not that it works: a device that never answers ends the process."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from workers.shelf import Shelf

log = logging.getLogger(__name__)

EVERY = 2.0  # seconds
ALLOWANCE = 6.0  # a micro-batch may take so many times what one row may


class Watchdog:
    """Watches the calls into the device and reports one that takes far too long."""

    def __init__(self, shelf: Shelf, on_wedged: Callable[[], None]) -> None:
        self._shelf = shelf
        self._on_wedged = on_wedged

    def start(self) -> None:
        """Begin to watch, in a thread of its own."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(EVERY)
            for model in self._shelf.loaded():
                since = model.batcher.running_since()
                limit = model.engine.entry.limits.row_seconds * ALLOWANCE
                if since is not None and time.monotonic() - since > limit:
                    log.error("%s has not answered for %.0f s: ending this process", model.engine.entry.name, limit)
                    self._on_wedged()
