"""Which jobs the live workers can serve, and in one line what a job waits for that none of them can."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import ByteSize

from schemas.ledger.dispatches import Lane
from schemas.ledger.progress import JobProgress

Offer = tuple[Sequence[str], int | None]
"""What a live worker takes: its queues and its bytes for models, as its lease says."""


def serves(job: JobProgress, offer: Offer) -> bool:
    """Whether a worker that offers this takes the job's batches."""
    queues, memory = offer
    return job.task.queue in queues and Lane(job.task, memory=memory).takes(job.task, False, job.need)


def lack(job: JobProgress, offers: Iterable[Offer]) -> str | None:
    """Why no live worker takes the job's batches; None if one does."""
    able = [offer for offer in offers if job.task.queue in offer[0]]
    if any(serves(job, offer) for offer in able):
        return None
    if not able:
        return f"no worker for {job.task.value} is live: 'sciqueue worker' starts one"
    largest = max(memory or 0 for _, memory in able)
    return f"needs a worker with {told(job.need or 0)} for models; the largest has {told(largest)}"


def told(size: int) -> str:
    """A number of bytes as it is shown."""
    return ByteSize(size).human_readable()
