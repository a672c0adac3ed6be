"""A loop on a thread, with real channels."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from server.observability.metrics import Metrics
from server.rpc.access_log import AccessLog
from server.rpc.handler import Handler
from server.rpc.server import Loop, Server

WAIT_SECONDS = 30


@dataclass
class Running:
    """A server with one handler."""

    loop: Loop
    handler: Handler
    metrics: Metrics
    port: int = 0
    channels: list[grpc.Channel] = field(default_factory=list)

    def channel(self, *options: tuple[str, int]) -> grpc.Channel:
        """Connect, without retries: each refusal is seen."""
        options = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1), *options)
        self.channels.append(grpc.insecure_channel(f"127.0.0.1:{self.port}", options))
        return self.channels[-1]

    def on_loop(self, function: Callable[[], Any]) -> Any:
        """Run `function` on the loop's thread, and return its result."""
        done, results = threading.Event(), []

        def run() -> None:
            results.append(function())
            done.set()

        self.loop.call_soon(run)
        assert done.wait(WAIT_SECONDS)
        return results[0]

    def value(self, name: str, **labels: str) -> float | None:
        """Read a metric."""
        self.on_loop(self.metrics.flush)
        return self.metrics.registry().get_sample_value(name, labels)


Serve = Callable[..., Any]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve what `add` adds to a handler with these bounds, until the test ends."""

    @contextmanager
    def serving(
        add: Callable[[Handler], None],
        *,
        max_calls: int = 100,
        max_inflight_bytes: int = 10_000,
        options: Sequence[tuple[str, int]] = (),
    ) -> Iterator[Running]:
        metrics = Metrics()
        loop = Loop(metrics.tick)
        handler = Handler(
            metrics,
            AccessLog(0),
            None,
            loop.call_soon,
            max_calls=max_calls,
            max_inflight_bytes=max_inflight_bytes,
        )
        add(handler)
        server = Server(loop, handler.accept, options)
        running = Running(loop, handler, metrics, server.listen("127.0.0.1:0"))
        server.start()
        over = threading.Event()
        thread = threading.Thread(target=loop.run, args=(over.is_set,), daemon=True)
        thread.start()
        try:
            yield running
        finally:
            for channel in running.channels:
                channel.close()
            over.set()
            thread.join(WAIT_SECONDS)
            server.shut_down()
            server.cancel_calls()
            loop.run(lambda: server.stopped)

    return serving  # type: ignore[return-value]
