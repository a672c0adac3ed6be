"""`make soak`: load for a long time while workers are killed, then twice what the server can bear.

SOAK_MINUTES says how long the first part takes, and the second a sixth of that; SOAK_LOAD what share of the
capacity the first part asks for, and KILL_SECONDS the time between two kills. Fails where a retrying client
misses a prediction or memory grows; the rest is printed.
"""

import os
import sys
import threading
import time
from dataclasses import replace
from statistics import median

import grpc
import psutil

from clients.connection import Connection
from clients.load.plan import Plan
from clients.load.run import Result, run
from protos.digits.v1.prediction_pb2 import PredictRequest
from tests.load import IMAGE
from tests.process import RunningServer, running

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
KILL_SECONDS = float(os.environ.get("KILL_SECONDS", "30"))
# More than cores, so that those which are left can take what a killed one did.
WORKERS = 2 * (os.cpu_count() or 1)
LOAD = float(os.environ.get("SOAK_LOAD", "0.8"))
OVERLOAD = 2.0
# Of the memory of all processes, late in the run against early in it.
MOST_GROWTH = 1.05
REFUSALS = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED}  # gRPC's own are CANCELLED
REQUEST = PredictRequest(images=IMAGE.tobytes())


class Killer(threading.Thread):
    """Kills one worker after the other, and weighs all processes just before."""

    def __init__(self, server: RunningServer) -> None:
        super().__init__(daemon=True)
        self._server = psutil.Process(server.process.pid)
        self._end = threading.Event()
        self.memory_mb: list[float] = []

    def run(self) -> None:
        """Go on until stopped."""
        while not self._end.wait(KILL_SECONDS):
            workers = self._server.children()
            self.memory_mb.append(sum(each.memory_info().rss for each in (self._server, *workers)) / 1e6)
            max(workers, key=lambda worker: time.time() - worker.create_time()).kill()

    def stop(self) -> None:
        """Kill no more."""
        self._end.set()
        self.join()

    @property
    def growth(self) -> float:
        """The memory of the last third of the run, divided by that of the first; without the very first."""
        weighed = self.memory_mb[1:]
        third = max(len(weighed) // 3, 1)
        return median(weighed[-third:]) / median(weighed[:third]) if weighed else 1.0


class Refused(threading.Thread):
    """A caller that tries nothing twice, and notes how long it takes to be refused."""

    def __init__(self, server: RunningServer) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._end = threading.Event()
        self.milliseconds: list[float] = []

    def run(self) -> None:
        """Go on until stopped."""
        while not self._end.wait(0.02):
            started = time.perf_counter()
            try:
                self._server.stub.Predict(REQUEST, timeout=5)
            except grpc.RpcError as error:
                if error.code() in REFUSALS:
                    self.milliseconds.append((time.perf_counter() - started) * 1e3)

    def stop(self) -> None:
        """Call no more."""
        self._end.set()
        self.join()


def main() -> int:
    """Run the soak; return 1 where a promise was not kept."""
    with running("--workers", WORKERS) as server:
        retrying = Connection(address=server.address)
        once = Connection(address=server.address, attempts=1)
        closed = Plan(connection=retrying, seconds=10, warmup_seconds=2, connections=8, in_flight=128)
        capacity = run(closed).calls_per_second
        print(f"capacity {capacity:,.0f} calls/s, {WORKERS} workers and the load on {os.cpu_count()} CPUs")

        killer = Killer(server)
        killer.start()
        steady = run(replace(closed, rate=LOAD * capacity, seconds=MINUTES * 60))
        killer.stop()
        print(f"{MINUTES:g} minutes at {LOAD:.0%}, {len(killer.memory_mb)} workers killed: {_told(steady)}")
        print(f"memory MB {' '.join(f'{each:.0f}' for each in killer.memory_mb)}, x{killer.growth:.3f}")

        calm = run(replace(closed, connection=once, rate=LOAD * capacity, seconds=MINUTES * 60 / 12))
        print(f"{MINUTES / 12:g} minutes at {LOAD:.0%}, nobody killed: {_told(calm)}")
        refused = Refused(server)
        refused.start()
        flood = run(replace(closed, connection=once, rate=OVERLOAD * capacity, seconds=MINUTES * 60 / 6))
        refused.stop()
        print(f"{MINUTES / 6:g} minutes at {OVERLOAD:g} x capacity: {_told(flood)}")
        print(
            f"accepted p99 x{flood.tally.latency_ms(99) / calm.tally.latency_ms(99):.1f} of that at {LOAD:.0%}"
        )
        if refused.milliseconds:
            late = sorted(refused.milliseconds)
            print(f"refused in {median(late):.1f} ms, p99 {late[int(len(late) * 0.99)]:.1f}, of {len(late)}")
    return int(bool(steady.tally.failed) or killer.growth > MOST_GROWTH)


def _told(result: Result) -> str:
    tally = result.tally
    figures = f"{tally.ok:,} right, {dict(tally.failed)} failed"
    sent = "" if result.kept_up else f", sent up to {result.late_ms:.0f} ms late"
    return f"{figures}, p50 {tally.latency_ms(50):.1f} ms, p99 {tally.latency_ms(99):.1f} ms{sent}"


if __name__ == "__main__":
    sys.exit(main())
