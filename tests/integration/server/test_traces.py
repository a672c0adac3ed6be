"""Traces that a real server exports over OTLP."""

import queue
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

pytest.importorskip("opentelemetry.sdk", reason="NOT RUN: the extra otel is not installed")

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from protos.digits.v1.prediction_pb2 import PredictRequest
from tests.conftest import Publish
from tests.process import WAIT_SECONDS, RunningServer, running

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """A collector that keeps all spans."""

    def __init__(self) -> None:
        self.received: queue.Queue[Any] = queue.Queue()

    def Export(self, request: Any, _: object) -> Any:  # noqa: N802 - as the protocol names it
        self.received.put(request)
        return trace_service_pb2.ExportTraceServiceResponse()


@contextmanager
def collecting() -> Iterator[tuple[Collector, dict[str, str]]]:
    """Run a collector; yield it and the environment that points to it."""
    collector, server = Collector(), grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
    finally:
        server.stop(None)


def check_exemplar(server: RunningServer) -> None:
    """Scrape as OpenMetrics until a bucket names the trace; workers write their counts with a delay."""
    url = f"http://127.0.0.1:{server.metrics_port}/metrics"
    request = urllib.request.Request(url, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    for _ in range(200):
        with urllib.request.urlopen(request) as response:  # noqa: S310 - our own URL
            families = list(text_string_to_metric_families(response.read().decode()))
        named = [
            sample
            for family in families
            for sample in family.samples
            if sample.exemplar and sample.exemplar.labels == {"trace_id": TRACE_ID}
        ]
        if named and named[0].value:
            break
    (bucket,) = named
    assert bucket.name == "digits_request_duration_seconds_bucket"
    assert bucket.value == 1
    assert bucket.exemplar.value <= float(bucket.labels["le"])


@pytest.mark.parametrize("workers", [1, 2])
def test_spans_of_a_call_reach_the_collector(tmp_path: Path, publish: Publish, workers: int) -> None:
    publish(tmp_path)
    with collecting() as (collector, env):
        with running("--model-repository", tmp_path, "--workers", workers, env=env) as server:
            metadata = (("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01"),)
            server.stub.Predict(PredictRequest(images=bytes(784)), metadata=metadata, timeout=WAIT_SECONDS)
            check_exemplar(server)
        (exported,) = collector.received.get(timeout=WAIT_SECONDS).resource_spans  # sent at the stop
        resource = {each.key: each.value.string_value for each in exported.resource.attributes}
        assert resource["service.name"] == "digit-server"
        spans = {span.name: span for scope in exported.scope_spans for span in scope.spans}
        call = "digits.v1.PredictionService/Predict"
        assert spans.keys() == {call, "queue", "compute", "batch"}
        assert {span.trace_id.hex() for span in spans.values()} == {TRACE_ID}
        assert [link.span_id for link in spans["batch"].links] == [spans[call].span_id]
        assert not [line for line in server.lines if "Traceback" in line]


def test_collector_that_is_away_costs_no_call_and_holds_up_no_stop(tmp_path: Path, publish: Publish) -> None:
    publish(tmp_path)
    with collecting() as (_, env):
        pass  # its port is free again
    with running("--model-repository", tmp_path, env=env) as server:
        assert server.predict(bytes(784)).digits
        server.process.terminate()
        assert server.wait() == 0
    assert all(line.startswith("{") for line in server.lines)  # what the library logs, too


def test_opentelemetry_is_not_imported_unless_asked_for() -> None:
    program = (
        "import sys, server.process.app, server.process.supervisor; "
        "print([m for m in sys.modules if 'telemetry' in m])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
