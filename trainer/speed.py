"""How much faster one ONNX graph is than another on one thread of this CPU."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 150
_IMAGES_PER_ROUND = 64


def speed_ratio(slow: Path, fast: Path, images: NDArray[np.uint8], batch_images: int) -> float:
    """Return the time `slow` takes over the time `fast` takes, for batches of uint8 images [n, 784].

    The two take turns, so that both meet the machine's quiet moments, and the shortest round of each counts:
    other programs only ever make a round longer.
    """
    sessions = [_session(path) for path in (slow, fast)]
    batch = {"images": images[:batch_images]}
    runs = max(1, _IMAGES_PER_ROUND // batch_images)
    rounds = [[_time(session, batch, runs) for session in sessions] for _ in range(_ROUNDS)]
    of_slow, of_fast = np.min(rounds, axis=0)
    return float(of_slow / of_fast)


def _session(path: Path) -> Any:
    import onnxruntime as ort  # noqa: PLC0415  # only needed once there is a graph to run

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    session.run(None, {"images": np.zeros((1, 784), np.uint8)})
    return session


def _time(session: Any, batch: dict[str, NDArray[np.uint8]], runs: int) -> float:
    started = time.perf_counter()
    for _ in range(runs):
        session.run(None, batch)
    return time.perf_counter() - started
