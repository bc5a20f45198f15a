"""The same with celery-batches, which hands a worker's waiting tasks to one call; in the rivals' environment."""

from __future__ import annotations

from typing import Any

from celery_batches import Batches  # type: ignore[import-not-found]  # only the rivals' environment has it

from tests.benchmarks.celery_rivals import app, model


@app.task(base=Batches, name="classify_batch", flush_every=64, flush_interval=0.1)
def classify_batch(requests: list[Any]) -> None:
    """Up to 64 molecules."""
    found = model()([request.args[0] for request in requests])
    for request, values in zip(requests, found, strict=True):
        app.backend.mark_as_done(request.id, values, request=request)
