"""Sizes of runs and batches, and the precision that is served."""

import pytest

from server import machine
from server.model.tuning import padded, prefers_int8, sizes, warm_sizes


def test_batch_is_several_runs_on_a_cpu() -> None:
    for precision in ("float32", "int8"):
        run_images, batch_images = sizes("cpu", precision, 0)
        assert run_images < batch_images
        assert batch_images % run_images == 0


@pytest.mark.parametrize("provider", ["cpu", "openvino", "cuda", "tensorrt"])
def test_setting_caps_batches_and_runs(provider: str) -> None:
    assert sizes(provider, "float32", 5) == (5, 5)
    assert sizes(provider, "float32", 4096).batch_images == 4096


def test_sizes_that_are_run_are_those_that_are_warm() -> None:
    for run_images in (1, 2, 5, 16, 1000):
        used = {padded(images, run_images) for images in range(1, run_images + 1)}
        assert sorted(used) == warm_sizes(run_images)
    assert warm_sizes(1000) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000]


def test_eight_bit_graphs_are_for_cpus_with_the_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "has_int8_instructions", lambda: True)
    assert prefers_int8("cpu", "auto")
    assert not prefers_int8("cpu", "float32")
    assert not prefers_int8("cuda", "auto")
    monkeypatch.setattr(machine, "has_int8_instructions", lambda: False)
    assert not prefers_int8("cpu", "auto")
