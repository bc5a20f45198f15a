"""What a dispatcher has done since it started, as numbers that an exporter can read from another thread."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum


class Return(StrEnum):
    """Why batches that were handed out returned to be handed out again."""

    WORKER_GONE = "worker_gone"
    LOST = "message_lost"
    OVERTAKEN = "message_overtaken"
    BROKER_EMPTY = "broker_empty"
    STRANDED = "queue_unserved"


@dataclass(slots=True)
class DispatcherCounts:
    """Counts and sums. Another thread may be reading: it has to copy what it goes through."""

    ticks: int = 0  # that came to their end
    tick_seconds: float = 0.0
    ticked_at: float = field(default_factory=time.monotonic)  # the end of the last one, at first the start
    messages: Counter[str] = field(default_factory=Counter)  # by queue
    returned: dict[Return, int] = field(default_factory=lambda: dict.fromkeys(Return, 0))
    lapsed: int = 0  # leases of workers that fell silent

    @contextmanager
    def tick(self) -> Iterator[None]:
        """Count one look, unless a fault breaks it off."""
        began = time.monotonic()
        yield
        self.ticked_at = time.monotonic()
        self.tick_seconds += self.ticked_at - began
        self.ticks += 1
