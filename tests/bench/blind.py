"""Our server with nothing that observes: no metrics, no log of calls, no history. What those cost is the difference.

`python -m tests.bench.blind` takes digit-server's flags.
"""

import sys

import numpy as np

from server import cli
from server.batch_metrics import BatchMetrics
from server.call_log import CallLog
from server.history import History
from server.metrics import Metrics
from tests.bench.unobserved import nothing


def main() -> int:
    """Take out what observes, and serve."""
    BatchMetrics.batch = nothing  # type: ignore[method-assign]
    Metrics.finished = nothing  # type: ignore[method-assign]
    Metrics.sample = nothing  # type: ignore[method-assign]
    CallLog.wants = nothing  # type: ignore[method-assign]
    History.record = nothing  # type: ignore[method-assign]
    np.count_nonzero = lambda _: 0  # type: ignore[assignment]  # of the ink
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
