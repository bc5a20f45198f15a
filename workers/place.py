"""What a worker knows of one of its models, loaded or not: its size, its users, its times and its numbers."""

from __future__ import annotations

import time

from schemas.footprint import weights_bytes
from schemas.registry import ModelEntry
from workers.loading import LoadedModel
from workers.residence import Resident
from workers.tally import ModelCounts, Tally


class Place:
    """One model's place on the shelf, whose lock guards it."""

    def __init__(self, number: int, entry: ModelEntry) -> None:
        self.number = number
        self.entry = entry
        self.least = weights_bytes(entry)  # bytes without which it cannot be loaded
        self.grown = 0  # bytes that this process grew by when it was last loaded
        self.short = 0  # more bytes than there were when it could not be loaded, until it was
        self.model: LoadedModel | None = None
        self.users = 0
        self.since = time.monotonic()
        self.loaded_at = self.load_seconds = self.last_used = 0.0
        self.tally = Tally(entry.name)
        self.reported = self.tally.counts()

    @property
    def size(self) -> int:
        """The bytes that it takes when it is loaded."""
        return max(self.least, self.grown)

    def resident(self) -> Resident | None:
        """How it stands on the shelf, if it does."""
        if self.model is None:
            return None
        in_use = self.users > 0 or not self.model.batcher.idle
        seconds = self.load_seconds + self.model.workshop.start_seconds  # as much as the next load would cost
        return Resident(self.number, self.size, self.loaded_at, seconds, self.last_used, in_use)

    def end(self) -> None:
        """It is no longer loaded; its numbers stay."""
        if self.model is not None:
            self.tally.end(self.model.batcher.stats())
            self.model = None

    def counts(self) -> ModelCounts:
        """All that it has done."""
        return self.tally.counts() if self.model is None else self.tally.counts(self.model.batcher.stats(), self.size)
