"""A trace a batch for OpenTelemetry, from its hand-over by the dispatcher to its commit: the extra `telemetry`.

Off unless the settings name a collector; the variables of OpenTelemetry's own tell its SDK where and how.
Spans are made when a batch has ended, of what was measured anyway, and are sent from a thread of their own: a collector
that is away costs the traces and no work. Source: OpenTelemetry's specification of the SDK's environment variables.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from schemas.errors import ConfigurationError
from workers.spans import Span

if TYPE_CHECKING:
    from schemas.ledger.claims import ClaimedBatch


class Traces:
    """Tells a collector about batches. All methods may be called from any thread."""

    def __init__(self, worker: str) -> None:
        """`worker` is its name as Flower shows it.

        Raises:
            ConfigurationError: the extra is not installed.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as fault:
            raise ConfigurationError(
                "OTEL_EXPORTER_OTLP_ENDPOINT is set: pip install 'sciqueue[telemetry]', or unset it"
            ) from fault
        resource = Resource.create({"service.name": "sciqueue-worker", "service.instance.id": worker})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("sciqueue")

    def tell(self, batch: ClaimedBatch, spans: Iterable[Span], verdict: str) -> None:
        """One batch that has just ended so: its wait in the queue, and its steps."""
        from opentelemetry import trace

        ahead = time.time_ns() - time.monotonic_ns()  # of the clock that spans are measured by
        steps = [(span, ahead + int(span.began * 1e9)) for span in spans]
        claimed = min(began for _, began in steps)
        sent = min(_nanoseconds(batch.sent_at), claimed)  # PostgreSQL's clock may be another one
        about = {"sciqueue.job": batch.job, "sciqueue.batch": batch.id, "sciqueue.fence": batch.fence}
        root = self._tracer.start_span(
            f"batch {batch.task}",
            start_time=sent,
            attributes={**about, "sciqueue.rows": len(batch.items), "sciqueue.verdict": verdict},
        )
        within = trace.set_span_in_context(root)
        self._tracer.start_span("queue", within, start_time=sent).end(claimed)
        for span, began in steps:
            step = self._tracer.start_span(span.step, within, start_time=began)
            if span.fault is not None:
                step.set_status(trace.StatusCode.ERROR, span.fault)
            step.end(began + int((span.seconds or 0.0) * 1e9))
        root.end()

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def traces_of(worker: str, collector: str | None) -> Traces | None:
    """For a worker of that name, if a collector is named."""
    return Traces(worker) if collector else None


def _nanoseconds(when: datetime) -> int:
    return int(when.timestamp() * 1e9)
