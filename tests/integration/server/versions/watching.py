"""A server whose repository changes."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from protos.digits.v1 import prediction_pb2 as pb
from tests.process import WAIT_SECONDS, RunningServer, running

IMAGE = np.random.default_rng(7).integers(0, 256, 784, np.uint8).tobytes()

Arrive = Callable[..., Path]  # publishes a version into the repository


class WatchingServer(RunningServer):
    """A server whose repository changes."""

    def look(self) -> None:
        """Make it scan the repository now."""
        self.process.send_signal(signal.SIGHUP)

    def serves(self, *versions: int, model: str = "digits", **labels: int) -> None:
        """Wait until it logs these versions, newest first, and labels."""
        while True:
            event = self.event("versions serve")
            if event["model"] == model and (event["versions"], event["labels"]) == (list(versions), labels):
                return

    def predicts_only(self, version: int) -> None:
        """Wait until this version alone answers: one worker says that it serves it, the others soon do."""
        deadline = time.monotonic() + WAIT_SECONDS
        while (answered := {self.predict(IMAGE).version for _ in range(20)}) != {version}:
            assert time.monotonic() < deadline, f"versions {answered} answer"

    def states(self, model: str = "digits") -> dict[int, str]:
        models = self.stub.ListModels(pb.ListModelsRequest(), timeout=WAIT_SECONDS).models
        return {each.version: pb.Model.State.Name(each.state) for each in models if each.name == model}

    def reason(self, version: int) -> str:
        models = self.stub.ListModels(pb.ListModelsRequest(), timeout=WAIT_SECONDS).models
        (reason,) = [each.reason for each in models if each.version == version and each.reason]
        return reason


@contextmanager
def watching(repository: Path, *arguments: object, poll: float = 0) -> Iterator[WatchingServer]:
    with running(
        "--model-repository", repository, "--repository-poll-seconds", poll, *arguments, kind=WatchingServer
    ) as server:
        yield server
