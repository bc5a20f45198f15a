"""The wire message: ids, not data. It may be lost or repeated without harm, since the ledger has the last word."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from schemas.errors import UsageError

VERSION = 1
TASK_NAME = "sciqueue.run_batch"  # the Celery task that takes this message


@dataclass(frozen=True, slots=True)
class BatchMessage:
    """One hand-over of one batch. `fence` is the number of the hand-over; a claim with an older one is refused."""

    batch: int
    fence: int
    version: int = VERSION

    def to_wire(self) -> dict[str, int]:
        """Keyword arguments of the Celery task, JSON."""
        return asdict(self)

    @classmethod
    def from_wire(cls, wire: dict[str, int]) -> BatchMessage:
        """Read a message.

        Raises:
            UsageError: the message was written by an incompatible version.
        """
        if wire.get("version") != VERSION:
            raise UsageError(
                f"message version {wire.get('version')} is not {VERSION}: producer and workers differ; "
                "upgrade both, the batch will be sent again"
            )
        return cls(batch=int(wire["batch"]), fence=int(wire["fence"]))
