"""An hour of mixed traffic: `python -m tests.soak.mixed`.

Unary calls and streams of both protocols, cancelled calls, deadlines too short to meet and abandoned streams,
while versions are published, relabelled and removed and workers are killed. SOAK_MINUTES is the duration and
KILL_SECONDS the time between two kills. Fails if a retrying client misses a prediction, an answer is wrong,
a call ends with an unexpected status, or memory or the number of open files grows.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import grpc

from clients import Client, Connection
from protos.digits.v1.prediction_pb2 import PredictRequest
from protos.digits.v1.prediction_pb2_grpc import PredictionServiceStub
from server.settings import SHIPPED_REPOSITORY
from tests.bench.swaps import SHIPPED_VERSION, publish
from tests.process import RunningServer, running
from tests.soak.killer import Killer, every, growth
from trainer.data.dataset import load_sample

MINUTES = float(os.environ.get("SOAK_MINUTES", "60"))
KILL_SECONDS = float(os.environ.get("KILL_SECONDS", "30"))
SETTINGS = ("--workers", 2, "--connection-age-seconds", 20, "--repository-poll-seconds", 1)
PUBLISH_SECONDS = 20.0
PAUSE_SECONDS = 0.2
STREAM_IMAGES = 500
MOST_GROWTH = 1.05
IMAGES = load_sample().x_test
# Statuses of calls without retries if their worker is killed, and if their deadline is too short.
KILLED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
LATE = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}

Ask = Callable[[random.Random], str]


class Traffic:
    """Callers, one per thread; each call has an outcome in words, `wrong` ones begin with "WRONG"."""

    def __init__(self, server: RunningServer, stack: ExitStack) -> None:
        self._digits = stack.enter_context(Client(server.address))
        other = Connection(address=server.address, protocol="open-inference")
        self._oip = stack.enter_context(Client(other))
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        channel = stack.enter_context(grpc.insecure_channel(server.address, options))
        self._stub = PredictionServiceStub(channel)
        self._expected = [each.digit for each in self._digits.predict(IMAGES)]
        self.outcomes: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._asks: dict[str, Ask] = {
            "unary": partial(self._predict, self._digits),
            "Open Inference Protocol": partial(self._predict, self._oip),
            "client stream": self._client_stream,
            "stream": self._stream,
            "abandoned stream": self._abandon,
            "cancelled": self._cancel,
            "short deadline": self._hurry,
        }

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Run all callers during a block."""
        with ExitStack() as stack:
            for name, ask in self._asks.items():
                stack.enter_context(every(0, partial(self._call, name, ask, random.Random(name))))
            yield

    def _call(self, name: str, ask: Ask, rng: random.Random) -> None:
        time.sleep(rng.expovariate(1 / PAUSE_SECONDS))
        try:
            outcome = ask(rng)
        except Exception as error:  # noqa: BLE001 - an outcome as any other
            outcome = f"WRONG: {error!r}"
        with self._lock:
            self.outcomes[f"{name}: {outcome}"] += 1

    def _check(self, digits: list[int], start: int, count: int) -> str:
        expected = self._expected[start : start + count]
        return "right" if digits == expected else f"WRONG digits {digits}, expected {expected}"

    def _some(self, rng: random.Random) -> tuple[int, int]:
        count = rng.choice((1, 1, 1, 8, 64))
        return rng.randrange(len(IMAGES) - count), count

    def _request(self, start: int, count: int) -> PredictRequest:
        return PredictRequest(images=IMAGES[start : start + count].tobytes())

    def _predict(self, client: Client, rng: random.Random) -> str:
        start, count = self._some(rng)
        answers = client.predict(IMAGES[start : start + count])
        return self._check([each.digit for each in answers], start, count)

    def _client_stream(self, _rng: random.Random) -> str:
        answers = [each.digit for each in self._digits.stream(iter(IMAGES[:STREAM_IMAGES]))]
        return self._check(answers, 0, STREAM_IMAGES)

    def _stream(self, rng: random.Random) -> str:
        places = [self._some(rng) for _ in range(20)]
        answers = self._stub.PredictStream((self._request(*place) for place in places), timeout=30)
        return _status(lambda: self._streamed(answers, places))

    def _streamed(self, answers: Iterator[PredictRequest], places: list[tuple[int, int]]) -> str:
        results = {
            self._check(list(answer.digits), *place) for answer, place in zip(answers, places, strict=True)
        }
        return ", ".join(sorted(results))

    def _abandon(self, rng: random.Random) -> str:
        answers = self._stub.PredictStream((self._request(*self._some(rng)) for _ in range(50)), timeout=30)

        def leave() -> str:
            for _ in range(rng.randrange(5)):
                next(answers)
            answers.cancel()
            return "abandoned"

        return _status(leave)

    def _cancel(self, rng: random.Random) -> str:
        start, count = self._some(rng)
        call = self._stub.Predict.future(self._request(start, count), timeout=30)
        time.sleep(rng.uniform(0, 0.003))
        if call.cancel():
            return "cancelled"
        return _status(lambda: self._check(list(call.result().digits), start, count))

    def _hurry(self, rng: random.Random) -> str:
        start, count = self._some(rng)
        ask = partial(self._stub.Predict, self._request(start, count), timeout=rng.uniform(0.0002, 0.004))
        return _status(lambda: self._check(list(ask().digits), start, count), LATE)


def _status(ask: Callable[[], str], more: Collection[grpc.StatusCode] = ()) -> str:
    """Return the outcome of a call without retries, or the status of its error."""
    try:
        return ask()
    except grpc.FutureCancelledError:
        return "cancelled"
    except grpc.RpcError as error:
        code = error.code()
        return str(code.name) if code in {*KILLED, *more} else f"WRONG: {code.name}: {error.details()}"


class Publisher:
    """Publishes a new version, labels the one before, and removes the one before that."""

    def __init__(self, server: RunningServer, repository: Path) -> None:
        self._server, self._repository = server, repository
        self.published = 0

    def publish(self) -> None:
        """Publish the next version."""
        folder = self._repository / "digits"
        self.published += 1
        newest = SHIPPED_VERSION + self.published
        publish(self._repository, newest)
        labels = folder / ".labels.json"
        labels.write_text(json.dumps({"stable": newest - 1, "canary": {"version": newest, "share": 0.2}}))
        labels.rename(folder / "labels.json")
        self._server.process.send_signal(signal.SIGHUP)
        if newest - 2 > SHIPPED_VERSION:
            shutil.rmtree(folder / str(newest - 2))


def main() -> int:
    """Run the soak; return 1 if a check fails."""
    with ExitStack() as stack:
        repository = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        shutil.copytree(SHIPPED_REPOSITORY, repository, dirs_exist_ok=True)
        server = stack.enter_context(running("--model-repository", repository, *SETTINGS))
        traffic = Traffic(server, stack)
        killer, publisher = Killer(server, spare=True), Publisher(server, repository)
        with (
            every(KILL_SECONDS, killer.kill),
            traffic.calling(),
            every(PUBLISH_SECONDS, publisher.publish),
        ):
            time.sleep(MINUTES * 60)
        logged = Counter(json.loads(line)["event"] for line in server.lines if line.startswith("{"))
    killed, published = len(killer.memory_mb), publisher.published
    print(f"{MINUTES:g} minutes, {killed} workers killed, {published} versions published")
    for outcome, count in sorted(traffic.outcomes.items()):
        print(f"  {outcome}: {count:,}")
    print("logged", dict(logged))
    memory, files = growth(killer.memory_mb), growth(killer.open_files)
    print(f"memory MB {' '.join(f'{each:.0f}' for each in killer.memory_mb)}, x{memory:.3f}")
    print(f"open files {' '.join(map(str, killer.open_files))}, x{files:.3f}")
    wrong = [outcome for outcome in traffic.outcomes if "WRONG" in outcome]
    return int(bool(wrong) or max(memory, files) > MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
