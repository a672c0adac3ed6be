"""The server without metrics, access log and history, to measure what they cost.

`python -m tests.bench.blind` takes digit-server's flags.
"""

from typing import Any

from server import cli
from server.observability.batch_metrics import BatchMetrics
from server.observability.history import History
from server.observability.metrics import Metrics
from server.rpc.access_log import AccessLog
from tests.process import RunningServer


class BlindServer(RunningServer):
    """Run this server."""

    module = "tests.bench.blind"


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


if __name__ == "__main__":
    BatchMetrics.batch = nothing  # type: ignore[method-assign]
    Metrics.finished = nothing  # type: ignore[method-assign]
    Metrics.tick = nothing  # type: ignore[method-assign]
    AccessLog.wants = nothing  # type: ignore[method-assign]
    History.record = nothing  # type: ignore[method-assign]
    cli.run()
