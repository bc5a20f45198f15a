"""The models that this process has loaded: one engine and one batcher each, on one device that they share."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from schemas.database import Database
from schemas.items import Item
from schemas.outcomes import Failed, Outcome
from schemas.registry import ModelEntry
from workers.batcher import Batcher
from workers.engines.contract import Engine, Prepared
from workers.engines.load import load_engine

log = logging.getLogger(__name__)


class _OnDevice:
    """An engine that waits its turn: the models of one process compute one at a time on its one device."""

    def __init__(self, engine: Engine, device: threading.Lock) -> None:
        self.entry = engine.entry
        self._engine = engine
        self._device = device

    def prepare(self, item: Item, parameters: dict[str, Any]) -> Sequence[Prepared | Failed]:
        return self._engine.prepare(item, parameters)

    def run(self, rows: Sequence[Prepared]) -> Sequence[Outcome]:
        with self._device:
            return self._engine.run(rows)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to work."""

    engine: Engine
    batcher: Batcher


class Shelf:
    """Loads models on first use, as they were pinned when their job was submitted."""

    def __init__(self, database: Database, device: str) -> None:
        self._database = database
        self._device = device
        self._device_lock = threading.Lock()
        self._lock = threading.Lock()  # one loading at a time
        self._loaded: dict[int, LoadedModel] = {}

    def get(self, model: int) -> LoadedModel:
        """The model with that id in the table of models.

        Raises:
            ModelUnavailable: its weights are missing, changed, or refused.
        """
        with self._lock:
            if model not in self._loaded:
                entry = self._entry(model)
                log.info("loading %s on %s", entry.name, self._device)
                engine = _OnDevice(load_engine(entry, self._device), self._device_lock)
                batcher = Batcher(engine)
                batcher.start()
                self._loaded[model] = LoadedModel(engine, batcher)
            return self._loaded[model]

    def loaded(self) -> list[LoadedModel]:
        """The models loaded so far."""
        return list(self._loaded.values())

    def stop(self, drain: float) -> None:
        """Stop all batchers, giving what has begun `drain` seconds in all."""
        stopping = [threading.Thread(target=model.batcher.stop, args=(drain,), daemon=True) for model in self.loaded()]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join(drain + 1.0)

    def _entry(self, model: int) -> ModelEntry:
        with self._database.transaction() as connection:
            row = connection.execute("SELECT entry FROM models WHERE id = %s", (model,)).fetchone()
        assert row is not None  # noqa: S101 - a batch's job points to it
        return ModelEntry.model_validate(row["entry"])
