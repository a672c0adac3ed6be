"""Speed of exported graphs: `python -m tests.bench.export`.

The networks of the shipped recipes with random weights, exported by tf2onnx alone, with our graph passes, in
8 bits by `onnxruntime.quantization` with and without the first convolution, and in 8 bits by us. One thread
on one core; two graphs alternate, and their shortest rounds are compared.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tf2onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from tests.bench.processes import SERVER_CORE
from trainer.backend import keras, tf
from trainer.data.dataset import load_data
from trainer.export.onnx import OPSET, export_onnx
from trainer.export.predictor import BATCHES_IMAGES, onnx_predictor, speed_ratio
from trainer.export.quantize import quantize
from trainer.network import served_network
from trainer.recipe import load_recipe

RECIPES = ("digits", "fast", "accurate")
FORMS = ("naive", "passes", "stock", "stock-mixed", "int8")


def naive(network: Any, path: Path) -> None:
    """Export a network with tf2onnx alone."""
    signature = [tf.TensorSpec((None, 784), tf.uint8, name="images")]
    serve = tf.function(lambda images: network(tf.cast(images, tf.float32)), input_signature=signature)
    model, _ = tf2onnx.convert.from_function(serve, input_signature=signature, opset=OPSET)
    path.write_bytes(model.SerializeToString())


class Calibration(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """Feeds images of all ten digits to the stock quantizer."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._batches = iter([{"images": images[at : at + 100]} for at in range(0, len(images), 100)])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the next batch."""
        return next(self._batches, None)


def stock(source: Path, target: Path, images: NDArray[np.uint8], excluded: list[str]) -> None:
    """Quantize an exported graph with ONNX Runtime, except these nodes."""
    quantize_static(
        *(source, target, Calibration(images)),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        nodes_to_exclude=excluded,
    )


def main() -> None:
    """Print a table of ratios, and the largest difference of a probability."""
    images = load_data("sample").x_test
    with tempfile.TemporaryDirectory() as temporary:
        paths = {(name, form): Path(temporary, f"{name}.{form}.onnx") for name in RECIPES for form in FORMS}
        for name in RECIPES:
            keras.utils.set_random_seed(1)
            network = served_network(load_recipe(name))
            for layer in network.layers:
                if getattr(layer, "bias", None) is not None:  # zeros would be removed from the graph
                    layer.bias.assign(np.random.default_rng(1).normal(0, 0.1, layer.bias.shape))
            naive(network, paths[name, "naive"])
            export_onnx(network, paths[name, "passes"], {})
            quantize(network, paths[name, "int8"], images, {})
            stock(paths[name, "passes"], paths[name, "stock"], images, [])
            stock(paths[name, "passes"], paths[name, "stock-mixed"], images, ["conv_1"])
            answers = [onnx_predictor(paths[name, form])(images) for form in ("naive", "passes")]
            print(f"{name}: passes and naive differ by {np.abs(answers[0] - answers[1]).max():.1e} at most")

        os.sched_setaffinity(0, {SERVER_CORE})
        pairs = [("naive", "passes"), ("passes", "stock"), ("passes", "stock-mixed"), ("passes", "int8")]
        rows = {
            f"{b} over {a}, `{name}`": (paths[name, a], paths[name, b]) for a, b in pairs for name in RECIPES
        }
        rows["`fast` over `digits`"] = (paths["digits", "passes"], paths["fast", "passes"])
        print("\n| ratio |", " | ".join(f"batch {size}" for size in BATCHES_IMAGES), "|")
        print("|---" * (1 + len(BATCHES_IMAGES)) + "|")
        for row, (slow, fast) in rows.items():
            ratios = [f"{speed_ratio(slow, fast, images, size):.2f}" for size in BATCHES_IMAGES]
            print(f"| {row} |", " | ".join(ratios), "|", flush=True)


if __name__ == "__main__":
    main()
