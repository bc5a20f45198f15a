"""The dispatcher's view of Redis: publish messages, see how many wait, and notice that it has been emptied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from schemas.errors import ServerUnavailable
from schemas.ledger.dispatches import Dispatched
from schemas.message import TASK_NAME

_EPOCH = "sciqueue:epoch"  # gone when the server lost its data
_TIMEOUT = 5.0  # seconds


class Broker:
    """One connection to Redis for looking, one Celery producer for publishing."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT)
        self._app = Celery("sciqueue", broker=url, set_as_current=False)
        self._app.conf.update(
            task_serializer="json",
            task_ignore_result=True,
            broker_transport_options={"socket_timeout": _TIMEOUT, "socket_connect_timeout": _TIMEOUT},
        )

    def publish(self, queue: str, batches: Sequence[Dispatched]) -> None:
        """Send the messages of batches that were dispatched.

        Raises:
            ServerUnavailable: some may not have been sent; the ledger will find out and send them again.
        """
        with _reachable(), self._app.producer_or_acquire() as producer:
            for batch in batches:
                self._app.send_task(
                    TASK_NAME,
                    kwargs=batch.message.to_wire(),
                    queue=queue,
                    producer=producer,
                    retry=False,
                    shadow=f"{batch.task.value} {batch.model}",  # what Flower and the logs show
                    kwargsrepr=f"job {batch.job}, batch {batch.message.batch}, {batch.rows} rows",
                )

    def depth(self, queue: str) -> int:
        """Messages that wait in a queue."""
        with _reachable():
            return int(self._redis.llen(queue))

    def was_emptied(self) -> bool:
        """Whether the server has lost its data since `mark` was called."""
        with _reachable():
            return not self._redis.exists(_EPOCH)

    def mark(self) -> None:
        """Leave the sign by which `was_emptied` tells."""
        with _reachable():
            self._redis.set(_EPOCH, 1)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        self._app.close()


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, OperationalError, OSError) as fault:
        raise ServerUnavailable(
            f"the broker cannot be reached ({fault}); is it up? 'sciqueue doctor' tells more"
        ) from fault
