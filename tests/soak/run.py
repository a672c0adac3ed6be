"""`make soak`: long load while workers are killed, then twice the capacity.

The server has half of the CPUs and the load the other half. SOAK_MINUTES is the duration of the first part
(the second takes a sixth of it), SOAK_LOAD its share of the capacity, or of what the load generator can offer
if that is less, KILL_SECONDS the time between two kills, and SOAK_PENDING_CALLS the `max_pending_calls` of
the second part. Fails if a retrying client misses a prediction, memory grows, or answers are late under
overload.
"""

import os
import sys
import time
from contextlib import ExitStack
from statistics import median

import grpc

from clients.connection import Connection
from clients.load.run import run
from clients.load.workload import Workload
from protos.digits.v1.prediction_pb2 import PredictRequest
from tests.bench.processes import CORES, closed_loop, open_loop, pinned, random_images
from tests.process import RunningServer, running
from tests.soak.killer import Killer, every, growth

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
KILL_SECONDS = float(os.environ.get("KILL_SECONDS", "30"))
LOAD = float(os.environ.get("SOAK_LOAD", "0.8"))
HALF = max(len(CORES) // 2, 1)
SERVER_CORES, LOAD_CORES = CORES[:HALF], CORES[-HALF:]
# More than cores, so that the remaining workers can take over the load of a killed one.
WORKERS = 2 * HALF
CONNECTIONS = 8
# With one, a call costs the load generator more than the server, and it could not offer enough.
IMAGES = 4
OVERLOAD = 2.0
# For overload: the default accepts larger bursts, which doubles the latency.
PENDING_CALLS = int(os.environ.get("SOAK_PENDING_CALLS", "128"))
# Limit on the growth of the memory of all processes from early to late in the run.
MOST_GROWTH = 1.05
# Limit on the p99 of answered calls under overload, relative to that at LOAD.
MOST_SLOWER = 3.0
REFUSALS = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED}  # refusals by gRPC are CANCELLED
REQUEST = PredictRequest(images=random_images(IMAGES))


def main() -> int:
    """Run the soak; return 1 if a check fails."""
    with ExitStack() as stack:
        with pinned(*SERVER_CORES):
            server = stack.enter_context(running("--workers", WORKERS))
        stack.enter_context(pinned(*LOAD_CORES))
        capacity, offered = measured(server), generated(server)
        print(f"capacity {capacity:,.0f} calls/s, {WORKERS} workers on {HALF} of {len(CORES)} CPUs")
        print(f"the load generator offers {offered:,.0f} calls/s on the others")
        kept = steady(server, LOAD * min(capacity, offered))
    return int(not (overload() and kept))


def measured(server: RunningServer) -> float:
    """Return the capacity in a closed loop, in calls per second."""
    return closed_loop(
        server.grpc_port, IMAGES, inflight=16, calls=30_000, connections=CONNECTIONS, cores=LOAD_CORES
    ).calls_per_second


def generated(server: RunningServer) -> float:
    """Return how many calls per second the load generator of `steady` can make."""
    workload = Workload(
        connection=Connection(address=server.address),
        images_per_call=IMAGES,
        connections=CONNECTIONS,
        in_flight=4 * CONNECTIONS,
        seconds=6,
    )
    return run(workload).calls_per_second


def steady(server: RunningServer, rate: float) -> bool:
    """Call at `rate` per second, with retries, while workers are killed; return whether all checks passed."""
    killer = Killer(server)
    workload = Workload(
        connection=Connection(address=server.address),
        images_per_call=IMAGES,
        rate=rate,
        seconds=MINUTES * 60,
        warmup_seconds=1,
        connections=CONNECTIONS,
    )
    with every(KILL_SECONDS, killer.kill):
        result = run(workload)
    tally = result.tally
    print(
        f"{MINUTES:g} minutes at {LOAD:.0%}, {len(killer.memory_mb)} workers killed: {tally.ok:,} right, "
        f"{dict(tally.failed) or 'none'} failed, p50 {tally.latency_ms(50):.1f} ms, p99 "
        f"{tally.latency_ms(99):.1f} ms"
    )
    if result.limit:
        print(f"the generator was the limit: {result.limit}")
    print(
        f"memory MB {' '.join(f'{each:.0f}' for each in killer.memory_mb)}, x{growth(killer.memory_mb):.3f}"
    )
    return not tally.failed and growth(killer.memory_mb) <= MOST_GROWTH


def overload() -> bool:
    """Offer more than the capacity, without retries; return whether the answers were in time."""
    with ExitStack() as stack:
        with pinned(*SERVER_CORES):  # a worker per core, as in production
            server = stack.enter_context(running("--workers", HALF, "--max-pending-calls", PENDING_CALLS))
        stack.enter_context(pinned(*LOAD_CORES))
        capacity = measured(server)
        seconds = max(round(MINUTES * 10), 2)
        options = {"images_per_call": IMAGES, "connections": CONNECTIONS}
        calm = open_loop(server.grpc_port, LOAD * capacity, seconds=seconds // 2, **options)
        print(
            f"capacity {capacity:,.0f} calls/s, {HALF} workers, at most {PENDING_CALLS} calls pending; "
            f"at {LOAD:.0%} p99 {calm.p99_ms:.1f} ms, {calm.refused} refused"
        )
        refused: list[float] = []
        with every(0.02, lambda: refused.extend(refusal_ms(server))):
            flood = open_loop(server.grpc_port, OVERLOAD * capacity, seconds=seconds, **options)
    slower = flood.p99_ms / calm.p99_ms
    print(
        f"{OVERLOAD:g} x capacity for {seconds} s: {flood.calls_per_second / capacity:.2f} of it answered, "
        f"p99 {flood.p99_ms:.1f} ms, x{slower:.1f} of that at {LOAD:.0%}; {flood.refused:,} refused"
    )
    if late := sorted(refused):
        print(f"refused in {median(late):.1f} ms, p99 {late[int(len(late) * 0.99)]:.1f} ms, of {len(late)}")
    return slower <= MOST_SLOWER


def refusal_ms(server: RunningServer) -> list[float]:
    """Call without retries; return the latency in milliseconds if the call is refused."""
    started = time.perf_counter()
    try:
        server.stub.Predict(REQUEST, timeout=5)
    except grpc.RpcError as error:
        if error.code() in REFUSALS:
            return [(time.perf_counter() - started) * 1e3]
    return []


if __name__ == "__main__":
    sys.exit(main())
