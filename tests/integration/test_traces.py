"""A worker tells a collector of OpenTelemetry about each batch: here a real one's side of the wire, OTLP over HTTP."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from producer.submission import submit
from schemas.database import Database
from schemas.errors import ConfigurationError
from schemas.items import Task
from schemas.registry import load_registry
from schemas.settings import load_settings
from tests.integration.worker_part import send
from workers.lease import LeaseKeeper
from workers.runner import Runner
from workers.shelf import Shelf
from workers.traces import traces_of

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@contextmanager
def _collector() -> Iterator[tuple[str, list[bytes]]]:
    bodies: list[bytes] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", bodies
        finally:
            server.shutdown()
            serving.join()


def _spans(bodies: list[bytes]) -> list[Span]:
    found = []
    for body in bodies:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            told = {one.key: one.value.string_value for one in resource.resource.attributes}
            assert (told["service.name"], told["service.instance.id"]) == ("sciqueue-worker", "cpu0@test")
            found += [span for scope in resource.scope_spans for span in scope.spans]
    return found


def test_each_batch_is_one_trace_from_its_hand_over_to_its_commit(
    database: Database, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(
        database, load_registry(), ["CCO", "CCN"], task=Task.PREDICT, model="fake-predict", name="two", batch_rows=1
    ).job
    with _collector() as (url, bodies):
        monkeypatch.setenv(ENDPOINT, url)
        traces = traces_of("cpu0@test", load_settings().telemetry)
        assert traces is not None
        shelf = Shelf(database, "cpu")
        runner = Runner(database, shelf, traces=traces)
        assert {runner.run(message, keeper) for message in send(database, Task.PREDICT)} == {"done"}
        shelf.stop(0.0)
        traces.close()
    spans = _spans(bodies)
    roots = [span for span in spans if not span.parent_span_id]
    assert len(roots) == len({root.trace_id for root in roots}) == 2
    for root in roots:
        parts = [span for span in spans if span.parent_span_id == root.span_id]
        assert [part.name for part in parts] == ["queue", "claim", "model", "prepare", "compute", "finish", "complete"]
        assert {part.trace_id for part in parts} == {root.trace_id}
        assert root.name == "batch predict"
        told = {one.key: one.value for one in root.attributes}
        assert (told["sciqueue.job"].int_value, told["sciqueue.rows"].int_value) == (job, 1)
        assert told["sciqueue.verdict"].string_value == "done"
        begins = [part.start_time_unix_nano for part in parts]
        assert begins == sorted(begins) and begins[0] == root.start_time_unix_nano
        assert max(part.end_time_unix_nano for part in parts) <= root.end_time_unix_nano


def test_a_step_that_broke_off_says_so(
    database: Database, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(
        database,
        load_registry(),
        ["CCO"],
        task=Task.PREDICT,
        model="fake-predict",
        parameters={"ns_per_token": -1.0},
        name="one",
    )
    with _collector() as (url, bodies):
        monkeypatch.setenv(ENDPOINT, url)
        traces = traces_of("cpu0@test", load_settings().telemetry)
        shelf = Shelf(database, "cpu")
        assert Runner(database, shelf, traces=traces).run(send(database, Task.PREDICT)[0], keeper) == "paused its job"
        shelf.stop(0.0)
        assert traces is not None
        traces.close()
    faults = {span.name: span.status.message for span in _spans(bodies) if span.status.code == Status.STATUS_CODE_ERROR}
    assert faults == {"prepare": "UsageError"}


def test_a_collector_that_is_away_costs_no_work(
    database: Database, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(database, load_registry(), ["CCO"], task=Task.PREDICT, model="fake-predict", name="one")
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    shelf = Shelf(database, "cpu")
    traces = traces_of("cpu0@test", load_settings().telemetry)
    assert Runner(database, shelf, traces=traces).run(send(database, Task.PREDICT)[0], keeper) == "done"
    shelf.stop(0.0)
    assert traces is not None
    traces.close()


def test_without_a_collector_there_are_no_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENDPOINT, raising=False)
    assert traces_of("cpu0@test", load_settings().telemetry) is None


def test_a_collector_without_the_extra_is_said_to_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)  # as if it were not installed
    with pytest.raises(ConfigurationError, match=r"sciqueue\[telemetry\]"):
        traces_of("cpu0@test", load_settings().telemetry)
