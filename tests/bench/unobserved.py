"""Our server with metrics, timing, counting and validation taken out: what those cost is the difference.

`python -m tests.bench.unobserved` takes digit-server's flags.
"""

import sys
from typing import Any

from server import calls, cli, metrics, service
from server.batch_metrics import BatchMetrics


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


def bare(handler: calls.Handler, *_: Any, **__: Any) -> calls.Handler:
    """Leave the handler as it is."""
    return handler


def main() -> int:
    """Take the work around the model out, and serve."""
    BatchMetrics.batch = nothing  # type: ignore[method-assign]
    metrics.Metrics.finished = nothing  # type: ignore[method-assign]
    calls.observed = bare
    service.PredictionService._count = lambda _, size_bytes: size_bytes // 784  # type: ignore[method-assign]
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
