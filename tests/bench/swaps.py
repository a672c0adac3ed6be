"""Latency during fifty version swaps: `python -m tests.bench.swaps`.

Calls of one image, a constant number in flight, while fifty new versions of the shipped model are published
one after the other, compared with periods without a swap before and after. Server and load share all cores
with the loading and verification of versions.
"""

import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import grpc
import numpy as np
import psutil

from protos.digits.v1 import prediction_pb2, prediction_pb2_grpc
from server.settings import SHIPPED_REPOSITORY
from tests.bench import results
from tests.bench.processes import random_images
from tests.process import RunningServer, running
from tests.shipped import SHIPPED_DIGITS

SWAPS = 50
SHIPPED_VERSION = int(SHIPPED_DIGITS.name)
IN_FLIGHT = 8
QUIET_SECONDS = 6.0
MAX_P99_RATIO, MAX_MEMORY_RATIO = 3, 1.1


def publish(repository: Path, version: int) -> None:
    """Publish the shipped model as the next version."""
    folder = repository / "digits" / f".{version}"
    shutil.copytree(SHIPPED_DIGITS, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"version": version}))
    folder.rename(repository / "digits" / str(version))


async def measure(server: RunningServer, repository: Path) -> tuple[dict[str, list[float]], list[int]]:
    """Call without a pause; return the seconds of the calls of each period, and the bytes after each swap.

    An error ends the benchmark.
    """
    request = prediction_pb2.PredictRequest(images=random_images(1))
    latencies: dict[str, list[float]] = {"warm-up": [], "before": [], "during": [], "after": []}
    period = "warm-up"

    async with grpc.aio.insecure_channel(server.address) as channel, asyncio.TaskGroup() as group:
        stub = prediction_pb2_grpc.PredictionServiceStub(channel)

        async def call() -> None:
            while now := period:
                started = time.monotonic()
                await stub.Predict(request)
                latencies[now].append(time.monotonic() - started)

        for _ in range(IN_FLIGHT):
            group.create_task(call())
        await asyncio.sleep(QUIET_SECONDS)
        period = "before"
        await asyncio.sleep(QUIET_SECONDS)
        period = "during"
        sizes = await asyncio.to_thread(swap_all, server, repository)
        period = "after"
        await asyncio.sleep(QUIET_SECONDS)
        period = ""  # callers stop
    del latencies["warm-up"]
    return latencies, sizes


def swap_all(server: RunningServer, repository: Path) -> list[int]:
    """Publish and load new versions; return the server's resident bytes after each."""
    process, sizes = psutil.Process(server.process.pid), []
    for version in range(SHIPPED_VERSION + 1, SHIPPED_VERSION + 1 + SWAPS):
        publish(repository, version)
        process.send_signal(signal.SIGHUP)
        server.event("version released")
        sizes.append(process.memory_info().rss)
    return sizes


def main() -> int:
    """Measure, print, write JSON; exit 1 if a limit is exceeded."""
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        shutil.copytree(SHIPPED_REPOSITORY, repository, dirs_exist_ok=True)
        with running("--model-repository", repository, "--repository-poll-seconds", 0) as server:
            periods, sizes = asyncio.run(measure(server, repository))
            failed = server.metric("digits_requests_total") - server.metric(
                "digits_requests_total", code="OK"
            )
    p50, p99 = (
        {name: round(float(np.percentile(each, rank)) * 1e3, 2) for name, each in periods.items()}
        for rank in (50, 99)
    )
    figures = {
        "swaps": SWAPS,
        "calls_during_swaps": len(periods["during"]),
        "calls_failed": failed,
        "p50_ms": p50,
        "p99_ms": p99,
        "p99_ratio": p99["during"] / max(p99["before"], p99["after"]),
        "resident_mb": [sizes[0] / 1e6, sizes[-1] / 1e6],
        "memory_ratio": sizes[-1] / sizes[4],  # the first few fill the allocator's pools
    }
    print(json.dumps(figures, indent=2))
    results.write("swaps.json", figures)
    kept = (
        not failed and figures["p99_ratio"] <= MAX_P99_RATIO and figures["memory_ratio"] <= MAX_MEMORY_RATIO
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
