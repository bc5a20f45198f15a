"""Finds the engine of a model. Engine files are imported here and only here, when a model of their kind is loaded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

from schemas.errors import ModelUnavailable
from schemas.registry import ModelEntry
from workers.engines.contract import Engine, Loader


def load_engine(entry: ModelEntry, device: str) -> Engine:
    """Load a model on a device, `cpu` or `cuda`.

    Raises:
        ModelUnavailable: the weights are missing, changed, or of a form that is refused, or the engine's libraries
            are not installed.
    """
    try:
        load: Loader = import_module(f"workers.engines.{entry.engine.value}").load
    except ImportError as fault:
        raise ModelUnavailable(f"model '{entry.name}' cannot be loaded: {fault}; install what is missing") from fault
    # In a thread that ends: OpenMP's threads live as long as the thread that they first helped, and while there are
    # more of them than cores, all sleep after each operation, the model thread's too (on two cores, a third slower).
    with ThreadPoolExecutor(1, "load") as thread:
        return thread.submit(load, entry, device).result()
