"""A bare echo server on gRPC's completion queue, the baseline of the server's gRPC layer.

`python -m tests.bench.cq_echo` prints its port; it runs until it is terminated.
"""

from server.rpc.server import Event, Loop, Rpc, Server
from tests.bench.echo import ANSWER

CONTENT = ANSWER.SerializeToString()


def accept(rpc: Rpc) -> None:
    """Answer a unary call without parsing its message."""
    rpc.watch(nothing)
    rpc.receive(lambda _: rpc.answer(CONTENT))


def nothing(_: Event) -> None:
    """Do nothing."""


def main() -> None:
    """Serve on a free port."""
    loop = Loop(lambda _: None)
    server = Server(loop, accept, [("grpc.so_reuseport", 0)])
    print(server.listen("127.0.0.1:0"), flush=True)
    server.start()
    loop.run(lambda: False)


if __name__ == "__main__":
    main()
