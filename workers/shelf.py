"""The models that this process has loaded: one engine and one batcher each, on one device that they share."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from schemas import costs
from schemas.database import Database
from schemas.errors import ModelUnavailable, ServerUnavailable
from schemas.outcomes import Outcome
from schemas.registry import ModelEntry
from workers.batcher import Batcher, Stopped
from workers.cost import CostModel
from workers.devices import device_type
from workers.engines.contract import ContinuousEngine, Decoding, Engine, Prepared
from workers.engines.load import load_engine
from workers.workshop import Workshop

log = logging.getLogger(__name__)

REMEMBER = 60.0  # seconds between two writings of what was learnt: a worker that is killed loses no more


class OnDevice:
    """An engine that waits its turn: the models of one process compute one at a time on its one device.

    `since` is when the present call into the device began (`time.monotonic`), None between calls.
    """

    def __init__(self, engine: Engine, device: threading.Lock) -> None:
        self.entry = engine.entry
        self.cpu = engine.cpu
        self.since: float | None = None
        self._engine = engine
        self._device = device

    def run(self, rows: Sequence[Prepared]) -> Sequence[Outcome]:
        """As the engine does, alone on the device."""
        with self.turn():
            return self._engine.run(rows)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One call into the device."""
        with self._device:
            self.since = time.monotonic()
            try:
                yield
            finally:
                self.since = None


class ContinuousOnDevice(OnDevice):
    """A continuous engine that waits its turn, for each step anew."""

    _engine: ContinuousEngine

    def decode(self) -> Decoding:
        """As the engine does."""
        return _DecodingOnDevice(self._engine.decode(), self)


class _DecodingOnDevice:
    def __init__(self, decoding: Decoding, device: OnDevice) -> None:
        self._decoding = decoding
        self._device = device

    def admit(self, rows: Sequence[Prepared]) -> None:
        with self._device.turn():
            self._decoding.admit(rows)

    def step(self) -> Sequence[tuple[Prepared, Outcome]]:
        with self._device.turn():
            return self._decoding.step()


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to work."""

    engine: OnDevice
    batcher: Batcher
    cost: CostModel
    workshop: Workshop


class Shelf:
    """Loads models on first use, as they were pinned when their job was submitted."""

    def __init__(self, database: Database, device: str, processes: int = 0) -> None:
        """`processes` is how many do the work of each model that needs no device; 0: the worker's own threads."""
        self._database = database
        self._processes = processes
        self._device = device
        self._device_lock = threading.Lock()
        self._lock = threading.Lock()  # one loading at a time
        self._loaded: dict[int, LoadedModel] = {}
        self._stopped = False
        self._remembered = time.monotonic()

    def get(self, model: int) -> LoadedModel:
        """The model with that id in the table of models.

        Raises:
            ModelUnavailable: it cannot be loaded here, whatever the cause.
            Stopped: the worker is stopping.
            ServerUnavailable: PostgreSQL is away.
        """
        with self._lock:
            if model not in self._loaded:
                self._loaded[model] = self._load(model)
            due = time.monotonic() - self._remembered > REMEMBER
            if due:
                self._remembered = time.monotonic()
        if due:
            self.remember_costs()
        return self._loaded[model]

    def _load(self, model: int) -> LoadedModel:
        with self._database.transaction() as connection:
            row = connection.execute("SELECT name, entry FROM models WHERE id = %s", (model,)).fetchone()
        assert row is not None  # noqa: S101 - a batch's job points to it
        log.info("loading %s on %s", row["name"], self._device)
        try:
            engine = load_engine(ModelEntry.model_validate(row["entry"]), self._device)
        except ModelUnavailable:
            raise
        except Exception as fault:  # no row is to blame for it, and the next row would fare no better
            log.exception("%s cannot be loaded", row["name"])
            why = (str(fault).strip().splitlines() or [""])[0]
            raise ModelUnavailable(
                f"model '{row['name']}' cannot be loaded on {self._device}: {type(fault).__name__}: {why}"
            ) from fault
        if self._stopped:
            raise Stopped("the worker is stopping")
        waiting = ContinuousOnDevice if isinstance(engine, ContinuousEngine) else OnDevice
        on_device = waiting(engine, self._device_lock)
        kind = device_type(self._device)
        cost = CostModel(engine.entry.limits.token_budget, learnt=costs.recall(self._database, model, kind))
        batcher = Batcher(on_device, cost)
        batcher.start()
        workshop = Workshop(engine.cpu, self._processes, engine.entry.limits.row_seconds)
        _spare_collector()
        return LoadedModel(on_device, batcher, cost, workshop)

    def loaded(self) -> list[LoadedModel]:
        """The models loaded so far."""
        return list(self._loaded.values())

    def remember_costs(self) -> None:
        """Keep what the models' micro-batches were found to cost. Nothing is lost that would not be learnt again."""
        for number, model in list(self._loaded.items()):
            with suppress(ServerUnavailable):
                costs.remember(self._database, number, device_type(self._device), model.cost.state())

    def stop(self, drain: float) -> None:
        """Stop all batchers, giving what has begun `drain` seconds in all; no other model is loaded from now on."""
        self._stopped = True
        stopping = [threading.Thread(target=model.batcher.stop, args=(drain,), daemon=True) for model in self.loaded()]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join(drain + 1.0)
        for model in self.loaded():
            model.workshop.stop()
        self.remember_costs()


def _spare_collector() -> None:
    """Keep Python's cycle collector from going through all that was loaded, again and again, while rows pass by.

    It starts by the number of new objects, of which each row has a dozen, and they are nearly never in cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)
