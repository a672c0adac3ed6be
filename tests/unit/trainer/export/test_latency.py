import os
from pathlib import Path

import numpy as np

from tests.conftest import linear_graph
from trainer.export.predictor import BATCHES_IMAGES, machine, measure_latency, speed_ratio

IMAGES = np.zeros((5, 784), np.uint8)  # fewer than a batch: they are repeated


def test_every_batch_size_is_timed_and_quantiles_are_in_order(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(linear_graph())
    table = measure_latency(tmp_path / "model.onnx", IMAGES, "int8_")
    assert len(table) == 4 * len(BATCHES_IMAGES)
    for size in BATCHES_IMAGES:
        quantiles = ("p10", "median", "p95")
        p10, median, p95 = (table[f"int8_latency_batch_{size}_{each}_seconds"] for each in quantiles)
        assert 0 < p10 <= median <= p95
        # The throughput is that of an idle core.
        assert table[f"int8_throughput_batch_{size}_images_per_second"] == size / p10


def test_speed_ratio_of_a_graph_and_itself_is_positive(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(linear_graph())
    assert speed_ratio(tmp_path / "model.onnx", tmp_path / "model.onnx", IMAGES, 1) > 0


def test_machine_is_named_with_its_cpus() -> None:
    assert machine().endswith(f", {os.cpu_count()} CPUs")
