"""The HTTP port: Prometheus metrics, a page for people, and what orchestrators probe.

It runs on threads of its own, so it can tell when the event loop does not answer.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from server.errors import StartError
from server.news import News
from server.status_page import HEADERS as PAGE_HEADERS
from server.status_page import StatusPage

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

# A loop that does not answer for so long is stuck: batches take milliseconds.
LOOP_ANSWER_SECONDS = 5.0


class _Handler(WSGIRequestHandler):
    timeout = 10.0  # a connection that sends nothing

    def log_message(self, *_: object) -> None:
        """Keep scrapes and probes out of the log."""


class Endpoint:
    """A WSGI application with four paths."""

    def __init__(
        self,
        registry: CollectorRegistry,
        news: News,
        *,
        live: Callable[[], bool],
        ready: Callable[[], bool],
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        self._refresh = refresh
        self._live = live
        self._ready = ready
        self._loop = asyncio.get_running_loop()
        self._exposition = make_wsgi_app(registry)
        self.page = StatusPage(registry, news)

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one HTTP request."""
        match environ["PATH_INFO"]:
            case "/metrics":
                self._on_loop(self._refresh)
                page: Iterable[bytes] = self._exposition(environ, start_response)
                return page
            case "/livez":
                return _status(start_response, self._on_loop(lambda: None) and self._live(), "live")
            case "/readyz":
                return _status(start_response, self._ready(), "ready")
            case "/":
                self._on_loop(self._refresh)
                start_response("200 OK", list(PAGE_HEADERS))  # the library adds to it
                return [self.page.render(ready=self._ready())]
            case path:
                start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
                return [f"no page {path}, there are /, /metrics, /livez and /readyz\n".encode()]

    def _on_loop(self, function: Callable[[], None]) -> bool:
        """Run `function` on the event loop, and return whether the loop did so in time."""
        done = threading.Event()

        def run() -> None:
            function()
            done.set()

        self._loop.call_soon_threadsafe(run)
        return done.wait(LOOP_ANSWER_SECONDS)


def _status(start_response: "StartResponse", good: bool, name: str) -> Iterable[bytes]:
    status, text = ("200 OK", name) if good else ("503 Service Unavailable", f"not {name}")
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{text}\n".encode()]


@contextmanager
def listening(endpoint: Endpoint, host: str, port: int) -> Iterator[int]:
    """Serve `endpoint` on threads until the block ends; yield the port.

    Raises:
        StartError: the address cannot be bound.

    """
    try:
        httpd = make_server(host, port, endpoint, ThreadingWSGIServer, handler_class=_Handler)
    except OSError as error:
        raise StartError(f"metrics port {port} on {host} cannot be bound: {error.strerror}") from None
    thread = threading.Thread(target=httpd.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        with endpoint.page.history.recording():
            yield httpd.server_port
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
