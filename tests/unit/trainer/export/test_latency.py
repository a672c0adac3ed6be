import os
from pathlib import Path

import numpy as np

from tests.conftest import linear_graph
from trainer.export.predictor import BATCHES_IMAGES, Latency, machine, measure_latency, speed_ratio

IMAGES = np.zeros((5, 784), np.uint8)  # fewer than a batch: they are repeated


def test_every_batch_size_is_timed_and_quantiles_are_in_order(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(linear_graph())
    latencies = measure_latency(tmp_path / "model.onnx", IMAGES)
    assert [latency.batch_images for latency in latencies] == list(BATCHES_IMAGES)
    for latency in latencies:
        assert 0 < latency.p10_seconds <= latency.median_seconds <= latency.p95_seconds


def test_throughput_is_that_of_an_idle_core() -> None:
    assert Latency(64, p10_seconds=0.004, median_seconds=0.008, p95_seconds=0.1).images_per_second == 16_000


def test_speed_ratio_of_a_graph_and_itself_is_positive(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(linear_graph())
    assert speed_ratio(tmp_path / "model.onnx", tmp_path / "model.onnx", IMAGES, 1) > 0


def test_machine_is_named_with_its_cpus() -> None:
    assert machine().endswith(f", {os.cpu_count()} CPUs")
