"""The HTTP port: Prometheus metrics, the status page, and the probes of orchestrators.

It runs on threads of its own, so it can tell when the data plane does not answer. Their number is bounded.
"""

import gzip
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted

from server.observability.status_page import HEADERS as PAGE_HEADERS
from server.observability.status_page import StatusPage

MAX_CONNECTIONS = 16
# A client that sends nothing or reads nothing; and when a connection gives way to a new one.
TIMEOUT_SECONDS = 5.0
MAX_CONNECTION_SECONDS = 10.0
TEXT = (("Content-Type", "text/plain; charset=utf-8"),)
BUSY = b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"

log = structlog.get_logger()

Headers = Sequence[tuple[str, str]]


class Pages:
    """The pages of the port: a status, headers and a body for each path."""

    def __init__(
        self,
        registry: CollectorRegistry,
        page: StatusPage,
        *,
        live: Callable[[], bool],
        ready: Callable[[], bool],
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        self._registry = registry
        self.page = page
        self._live = live
        self._ready = ready
        self._refresh = refresh

    def get(self, path: str, accept: str) -> tuple[int, Headers, bytes]:
        """Answer a request; `accept` is its header of that name."""
        match path.partition("?")[0]:
            case "/metrics":
                self._refresh()
                encode, content_type = choose_encoder(accept)
                return 200, (("Content-Type", content_type),), encode(self._registry)
            case "/livez":
                return _probe(self._live(), "live")
            case "/readyz":
                return _probe(self._ready(), "ready")
            case "/":
                self._refresh()
                return 200, PAGE_HEADERS, self.page.render(ready=self._ready())
            case _:
                return 404, TEXT, b"no such page; there are /, /metrics, /livez and /readyz\n"


def _probe(good: bool, name: str) -> tuple[int, Headers, bytes]:
    return (200, TEXT, f"{name}\n".encode()) if good else (503, TEXT, f"not {name}\n".encode())


class HttpPort:
    """Serves pages on threads until it is closed."""

    def __init__(self, listening: Sequence[socket.socket], pages: Pages) -> None:
        self._pages = pages
        connections: dict[socket.socket, float] = {}
        self._servers = [_Server(each, pages, connections) for each in listening]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
        pages.page.history.start()

    @property
    def port(self) -> int:
        """The port number."""
        return self._servers[0].server_address[1]

    def close(self) -> None:
        """Listen no more."""
        self._pages.page.history.stop()
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Server(ThreadingMixIn, TCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, listening: socket.socket, pages: Pages, connections: dict[socket.socket, float]
    ) -> None:
        super().__init__(listening.getsockname(), _Request, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_address = listening.getsockname()
        self.pages = pages
        self._connections = connections  # of all ports, by when they came
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a thread, or refuse where all are busy."""
        now = time.monotonic()
        with self._lock:
            busy = len(self._connections) >= MAX_CONNECTIONS
            for old, since in list(self._connections.items()) if busy else ():
                if now - since > MAX_CONNECTION_SECONDS:
                    with suppress(OSError):  # which ends its thread
                        old.shutdown(socket.SHUT_RDWR)
            if not busy:
                self._connections[request] = now
        if busy:
            with suppress(OSError):
                request.send(BUSY, socket.MSG_DONTWAIT)
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as the library calls it
        """Ignore clients that disconnected; log other errors."""
        if not isinstance(sys.exc_info()[1], OSError):
            log.error("a page failed", exc_info=sys.exc_info())


class _Request(BaseHTTPRequestHandler):
    server: _Server
    timeout = TIMEOUT_SECONDS

    def do_GET(self) -> None:
        status, headers, body = self.server.pages.get(self.path, self.headers.get("Accept", ""))
        self.send_response(status)
        if gzip_accepted(self.headers.get("Accept-Encoding", "")):
            body = gzip.compress(body, compresslevel=1)
            self.send_header("Content-Encoding", "gzip")
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - as the library names it

    def version_string(self) -> str:
        return "digit-server"

    def log_message(self, *_: object) -> None:
        """Do not log scrapes and probes."""
