"""The HTTP port, used by Prometheus, probes and bad clients."""

import gzip
import http.client
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from server.observability import http as module
from server.observability.http import MAX_CONNECTIONS, HttpPort, Pages
from server.observability.logs import RecentEvents
from server.observability.metrics import Metrics
from server.observability.status_page import StatusPage

WAIT_SECONDS = 10
OPENMETRICS = "application/openmetrics-text"
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"


@pytest.fixture
def port() -> Iterator[int]:
    metrics = Metrics()
    pages = Pages(
        metrics.registry(),
        StatusPage(metrics.read, RecentEvents()),
        live=lambda: True,
        ready=lambda: False,
    )
    http_port = HttpPort([socket.create_server(("127.0.0.1", 0))], pages)
    yield http_port.port
    http_port.close()


def ask(
    port: int, path: str, method: str = "GET", **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
    connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def test_probes_answer_by_status(port: int) -> None:
    assert ask(port, "/livez")[::2] == (200, b"live\n")
    assert ask(port, "/readyz?verbose")[::2] == (503, b"not ready\n")
    assert ask(port, "/nowhere")[0] == 404
    assert ask(port, "/metrics", "POST")[0] == 501


@pytest.mark.parametrize("path", ["/", "/metrics", "/livez"])
def test_head_has_the_headers_of_get_and_no_body(port: int, path: str) -> None:
    status, headers, body = ask(port, path, "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0
    assert headers["Content-Type"] == ask(port, path)[1]["Content-Type"]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        (PROTOBUF, "text/plain"),
        (f"{OPENMETRICS};version=1.0.0,text/plain;q=0.5", OPENMETRICS),
    ],
)
def test_scraper_gets_the_format_that_it_prefers(port: int, accept: str, content_type: str) -> None:
    status, headers, body = ask(port, "/metrics", Accept=accept)
    assert status == 200
    assert headers["Content-Type"].startswith(content_type)
    assert body.endswith(b"# EOF\n") == (content_type == OPENMETRICS)


@pytest.mark.parametrize(
    ("encodings", "zipped"), [("gzip", True), ("deflate, gzip;q=0.5", True), ("deflate", False), ("", False)]
)
def test_metrics_are_zipped_for_those_who_want_it(port: int, encodings: str, zipped: bool) -> None:
    _, headers, body = ask(port, "/metrics", Accept_Encoding=encodings)
    assert (headers["Content-Encoding"] == "gzip") == zipped
    assert b"digits_build_info" in (gzip.decompress(body) if zipped else body)


def test_more_clients_than_threads_are_refused_at_once(port: int) -> None:
    with ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", port), WAIT_SECONDS))
            silent.sendall(b"GET /metrics")
        last = stack.enter_context(socket.create_connection(("127.0.0.1", port), WAIT_SECONDS))
        assert last.recv(1000).startswith(b"HTTP/1.0 503 ")


def test_clients_that_stay_give_way_to_new_ones(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTION_SECONDS", 0.0)
    with ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), WAIT_SECONDS))
            for _ in range(MAX_CONNECTIONS)
        ]
        stack.enter_context(socket.create_connection(("127.0.0.1", port), WAIT_SECONDS))
        assert [one.recv(1000) for one in silent] == [b""] * MAX_CONNECTIONS
    assert ask(port, "/livez")[0] == 200
