"""Callers that keep calling during a test and count the outcomes."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import grpc
import numpy as np

from clients import Client, Connection
from protos.digits.v1 import prediction_pb2_grpc
from protos.digits.v1.prediction_pb2 import PredictRequest
from tests.conftest import linear_answers
from tests.process import WAIT_SECONDS

IMAGE = np.random.default_rng(3).integers(0, 256, (1, 784), np.uint8)
DIGIT = int(linear_answers(1, IMAGE).argmax())  # of version 1 of the fixtures' graphs

Ask = Callable[[], int]


class Load:
    """Outcomes of the calls so far."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self._more = threading.Condition()
        self._ended = threading.Event()

    @property
    def answered(self) -> int:
        """Number of calls with the right digit."""
        return self.outcomes["right"]

    @property
    def failures(self) -> dict[str, int]:
        """Numbers of other outcomes."""
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != "right"}

    def wait_for(self, calls: int) -> None:
        """Wait for `calls` more answers."""
        target = self.answered + calls
        with self._more:
            if not self._more.wait_for(lambda: self.answered >= target, WAIT_SECONDS):
                raise AssertionError(f"no {calls} calls were answered: {self.outcomes}")

    def run(self, ask: Ask) -> None:
        """Call until the end, and record each outcome."""
        while not self._ended.is_set():
            try:
                outcome = "right" if ask() == DIGIT else "wrong digit"
            except grpc.RpcError as error:
                outcome = f"{error.code().name}: {error.details()}"
            except Exception as error:  # noqa: BLE001 - an outcome as any other
                outcome = str(error)
            with self._more:
                self.outcomes[outcome] += 1
                self._more.notify_all()

    def end(self) -> None:
        """Stop all callers after their current call."""
        self._ended.set()


@contextmanager
def load(*asks: Ask) -> Iterator[Load]:
    """Call on one thread for each of `asks` during a block."""
    running = Load()
    threads = [threading.Thread(target=running.run, args=(ask,)) for ask in asks]
    for thread in threads:
        thread.start()
    try:
        yield running
    finally:
        running.end()
        for thread in threads:
            thread.join(WAIT_SECONDS)


@contextmanager
def plain_callers(address: str, count: int) -> Iterator[list[Ask]]:
    """Callers with a connection each, without retries."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    channels = [grpc.insecure_channel(address, options) for _ in range(count)]
    request = PredictRequest(images=IMAGE.tobytes())

    def caller(channel: grpc.Channel) -> Ask:
        stub = prediction_pb2_grpc.PredictionServiceStub(channel)
        return lambda: int(stub.Predict(request, timeout=WAIT_SECONDS).digits[0])

    try:
        yield [caller(channel) for channel in channels]
    finally:
        for channel in channels:
            channel.close()


@contextmanager
def retrying_callers(address: str, connections: int, callers: int) -> Iterator[list[Ask]]:
    """Callers with retries, several per connection."""
    with ExitStack() as stack:
        opened = [stack.enter_context(Client(Connection(address=address))) for _ in range(connections)]
        yield [
            (lambda client=client: client.predict(IMAGE)[0].digit)  # type: ignore[misc]
            for client in opened
            for _ in range(callers)
        ]
