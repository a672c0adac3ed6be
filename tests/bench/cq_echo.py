"""A bare echo server on gRPC's completion queue, the baseline of the server's gRPC layer.

`python -m tests.bench.cq_echo` prints its port; it runs until it is terminated.
"""

from server.rpc.server import Event, Loop, Rpc, Server, message
from tests.bench.echo import ANSWER

CONTENT = ANSWER.SerializeToString()


def accept(rpc: Rpc) -> None:
    """Answer a call of either method without parsing its messages."""
    if rpc.path.endswith(b"Stream"):
        Stream(rpc)
    else:
        rpc.watch(nothing)
        rpc.receive(lambda _: rpc.answer(CONTENT))


def nothing(_: Event) -> None:
    """Do nothing."""


class Stream:
    """Answers each message of a stream."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._owed = 0
        self._first = True
        self._ended = self._sending = False
        rpc.receive(self._received)

    def _received(self, event: Event) -> None:
        self._ended = message(event) is None
        if not self._ended:
            self._owed += 1
            self._rpc.receive(self._received)
        self._send()

    def _send(self) -> None:
        if self._sending:
            return
        if self._owed:
            self._owed -= 1
            self._sending = True
            self._rpc.send(CONTENT, self._sent, first=self._first)
            self._first = False
        elif self._ended:
            self._rpc.end(first=self._first, unwatched=True)

    def _sent(self, _: Event) -> None:
        self._sending = False
        self._send()


def main() -> None:
    """Serve on a free port."""
    loop = Loop(lambda _: None)
    server = Server(loop, accept, [("grpc.so_reuseport", 0)])
    print(server.listen("127.0.0.1:0"), flush=True)
    server.start()
    loop.run(lambda: False)


if __name__ == "__main__":
    main()
