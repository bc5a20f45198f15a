"""Makes a model ready to work on a worker's device, and gives back all that it holds."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from dataclasses import dataclass

from schemas import costs
from schemas.database import Database
from schemas.errors import ModelUnavailable, ServerUnavailable
from schemas.registry import ModelEntry
from workers.batcher import Batcher
from workers.cost import CostModel
from workers.devices import device_type
from workers.engines.load import load_engine
from workers.memory import is_out_of_memory
from workers.on_device import OnDevice, on_device
from workers.room import spare_collector
from workers.workshop import Workshop

log = logging.getLogger(__name__)

ENDING = 10.0  # seconds for an idle model thread to end


class RanOut(ModelUnavailable):
    """Memory ran out while a model was loaded. Beside fewer other models it may fit."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready to work."""

    engine: OnDevice
    batcher: Batcher
    cost: CostModel
    workshop: Workshop


class ModelLoader:
    """Loads models onto one device, which they share."""

    def __init__(self, database: Database, device: str, processes: int) -> None:
        """`processes` is how many do the work of each model that needs no device; 0: the worker's own threads."""
        self._database = database
        self._device = device
        self._processes = processes
        self._lock = threading.Lock()  # whoever holds it computes

    def load(self, model: int, entry: ModelEntry) -> LoadedModel:
        """The model with that id in the table of models; its model thread is still to be started.

        Raises:
            RanOut: it did not fit into the memory that there was.
            ModelUnavailable: it cannot be loaded here, whatever the cause.
            ServerUnavailable: PostgreSQL is away.
        """
        learnt = costs.recall(self._database, model, device_type(self._device))
        log.info("loading %s on %s", entry.name, self._device)
        try:
            engine = load_engine(entry, self._device)
        except Exception as fault:  # no row is to blame for it, and the next row would fare no better
            why = f"{type(fault).__name__}: {(str(fault).strip().splitlines() or [''])[0]}"
            if any(is_out_of_memory(one) for one in (fault, fault.__cause__) if one is not None):
                raise RanOut(
                    f"model '{entry.name}' does not fit on {self._device} ({why}); run it where there is more memory"
                ) from fault
            if isinstance(fault, ModelUnavailable):
                raise
            log.exception("%s cannot be loaded", entry.name)
            raise ModelUnavailable(f"model '{entry.name}' cannot be loaded on {self._device}: {why}") from fault
        waiting = on_device(engine, self._lock)
        cost = CostModel(entry.limits.token_budget, entry.limits.latency, learnt)
        workshop = Workshop(engine.cpu, self._processes, entry.limits.row_seconds)
        spare_collector()
        return LoadedModel(waiting, Batcher(waiting, cost), cost, workshop)

    def unload(self, number: int, model: LoadedModel) -> None:
        """End the thread and the processes of an idle model; its memory is free once no reference to it is left."""
        self.remember(number, model)
        model.batcher.stop(ENDING)
        model.workshop.stop()

    def remember(self, number: int, model: LoadedModel) -> None:
        """Keep what the micro-batches were found to cost. Nothing is lost that would not be learnt again."""
        learnt, row_seconds = model.cost.state(), model.batcher.stats().row_seconds
        with suppress(ServerUnavailable):
            costs.remember(self._database, number, device_type(self._device), learnt, row_seconds)
