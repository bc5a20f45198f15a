"""Serves a process's metrics to Prometheus, over HTTP in a thread of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)


def serve_metrics(collector: Collector, address: str, port: int) -> Callable[[], None]:
    """Serve what the collector reads, at each scrape anew, on that port; gives what ends it.

    With port 0 nothing is served. A port that cannot be had costs the metrics and not the work.
    """
    if not port:
        return lambda: None
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        server, thread = start_http_server(port, address, registry)
    except (OSError, OverflowError) as fault:
        log.error("no metrics: %s:%d: %s", address, port, fault)
        return lambda: None
    log.info("metrics at http://%s:%d/metrics", address, port)
    return lambda: _end(server, thread.join)


def _end(server: WSGIServer, join: Callable[[], None]) -> None:
    server.shutdown()
    server.server_close()
    join()
