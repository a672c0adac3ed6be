"""A server with a defect that none is known of any more: an image can end the task that forms batches."""

import sys
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.batcher import Batcher
from server.cli import main
from tests.graphs import TROUBLE
from tests.process import WAIT_SECONDS, RunningServer


class DyingServer(RunningServer):
    """What tests ask it."""

    module = "tests.dying_server"

    def healthy(self) -> bool:
        """Ask over gRPC."""
        stub = health_pb2_grpc.HealthStub(self.channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=WAIT_SECONDS)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _answer_or_die(batcher: Any, batch: Any, *rest: Any) -> None:
    if any(part.call.images == TROUBLE for part in batch):
        raise RuntimeError("a defect")
    _answer(batcher, batch, *rest)


if __name__ == "__main__":
    _answer = Batcher._answer
    Batcher._answer = _answer_or_die  # type: ignore[method-assign]  # the defect
    sys.exit(main())
