"""Training runs: jobs of one row each, which name the call that makes a model."""

from __future__ import annotations

from hashlib import sha256
from importlib.metadata import version
from typing import Any

from schemas.database import Database
from schemas.items import ContentKind, Task
from schemas.ledger import corpora, jobs
from schemas.ledger.claims import ClaimedBatch
from schemas.registry import EngineKind, Limits, ModelEntry

_LIMITS = Limits(batch_rows=1, batch_size=1, token_budget=1, max_rows=1, max_tokens=1)


def submit(database: Database, kind: str, model: str, parameters: dict[str, Any]) -> tuple[int, bool]:
    """Open a job that makes `model` in the folder that the parameters name; its id, and whether it is new.

    `kind` is that of the model, as `sciqueue train` names it. The same call in the same place is the same job.
    """
    digits = sha256(parameters["folder"].encode()).hexdigest()[:8]
    corpus = corpora.ensure(database, f"training-{model}-{digits}", ContentKind.TRAINING, parameters["folder"])
    trainer = ModelEntry(name=f"{kind}-trainer", task=Task.TRAIN, engine=EngineKind.TRAINING, limits=_LIMITS)
    pinned = jobs.pin_model(database, trainer, version("sciqueue"))
    with database.transaction() as connection:
        added = connection.execute(
            "INSERT INTO items (corpus_id, row, custom_id, size) VALUES (%s, 0, %s, 1) ON CONFLICT DO NOTHING",
            (corpus.id, model),
        )
        if added.rowcount:
            connection.execute("UPDATE corpora SET loaded = 1, sealed_at = now() WHERE id = %s", (corpus.id,))
    return jobs.open_job(database, corpus.id, pinned, trainer, parameters)


def report(database: Database, batch: ClaimedBatch, step: int | None, steps: int | None) -> bool:
    """Record how far a run is; False if it is to end: its job was paused or cancelled, or others have its batch."""
    with database.transaction() as connection:
        wanted = connection.execute(
            "UPDATE jobs j SET step = %s, steps = %s FROM batches b WHERE b.id = %s AND b.fence = %s "
            "AND b.state = 'running' AND j.id = b.job_id AND j.state = 'running'",
            (step, steps, batch.id, batch.fence),
        )
    return wanted.rowcount == 1
