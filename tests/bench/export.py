"""What the exporter's work is worth: `python -m tests.bench.export`.

The networks of the shipped recipes with random weights, exported three ways: as tf2onnx does it by itself,
lean, and in 8-bit integers. One thread on one core, two graphs taking turns, the shortest rounds compared.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tf2onnx

from tests.bench.processes import SERVER_CORE
from trainer.backend import keras, tf
from trainer.data import load_sample
from trainer.export import OPSET, export_onnx
from trainer.network import served_network
from trainer.prediction import onnx_predictor
from trainer.quantize import quantize
from trainer.recipe import load_recipe
from trainer.speed import speed_ratio

RECIPES = ("digits", "fast", "accurate")
BATCHES_IMAGES = (1, 8, 64)


def naive(network: Any, path: Path) -> None:
    """Export a network as it is."""
    signature = [tf.TensorSpec((None, 784), tf.uint8, name="images")]
    serve = tf.function(lambda images: network(tf.cast(images, tf.float32)), input_signature=signature)
    model, _ = tf2onnx.convert.from_function(serve, input_signature=signature, opset=OPSET)
    path.write_bytes(model.SerializeToString())


def main() -> None:
    """Print a table of ratios, and how far the lean graph's answers are from the naive one's."""
    images = load_sample().x_test
    with tempfile.TemporaryDirectory() as temporary:
        paths = {
            (name, form): Path(temporary, f"{name}.{form}.onnx")
            for name in RECIPES
            for form in ("naive", "lean", "int8")
        }
        for name in RECIPES:
            keras.utils.set_random_seed(1)
            network = served_network(load_recipe(name))
            for layer in network.layers:
                if getattr(layer, "bias", None) is not None:  # zeros would be left out of the graph
                    layer.bias.assign(np.random.default_rng(1).normal(0, 0.1, layer.bias.shape))
            naive(network, paths[name, "naive"])
            export_onnx(network, paths[name, "lean"], {})
            quantize(paths[name, "lean"], paths[name, "int8"], images)
            answers = [onnx_predictor(paths[name, form])(images) for form in ("naive", "lean")]
            print(f"{name}: lean and naive differ by {np.abs(answers[0] - answers[1]).max():.1e} at most")

        os.sched_setaffinity(0, {SERVER_CORE})
        rows = {f"lean over naive, `{name}`": (paths[name, "naive"], paths[name, "lean"]) for name in RECIPES}
        rows |= {f"8-bit over lean, `{name}`": (paths[name, "lean"], paths[name, "int8"]) for name in RECIPES}
        rows["`fast` over `digits`"] = (paths["digits", "lean"], paths["fast", "lean"])
        print("\n| ratio |", " | ".join(f"batch {size}" for size in BATCHES_IMAGES), "|")
        print("|---" * (1 + len(BATCHES_IMAGES)) + "|")
        for row, (slow, fast) in rows.items():
            ratios = [f"{speed_ratio(slow, fast, images, size):.2f}" for size in BATCHES_IMAGES]
            print(f"| {row} |", " | ".join(ratios), "|", flush=True)


if __name__ == "__main__":
    main()
