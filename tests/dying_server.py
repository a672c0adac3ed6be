"""A server with a defect: a certain image ends its data plane."""

from typing import Any

from server.batching import batcher
from server.cli import run
from tests.graphs import TROUBLE
from tests.process import RunningServer


class DyingServer(RunningServer):
    """Run the server."""

    module = "tests.dying_server"


def _run_batch_or_die(model: Any, metrics: Any, parts: Any, *rest: Any) -> None:
    if any(part.call.images == TROUBLE for part in parts):
        raise RuntimeError("a defect")
    _run_batch(model, metrics, parts, *rest)


if __name__ == "__main__":
    _run_batch = batcher.run_batch
    batcher.run_batch = _run_batch_or_die  # the defect
    run()
