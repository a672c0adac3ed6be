"""Rows of five digits, of which some touch, and photographs of one digit, as the client segments them.

    python -m tests.bench.rows [ROWS]

Needs MNIST in DIGITS_DATA_DIR: the pictures are made from its test images.
"""

import os
import sys
from pathlib import Path

import numpy as np

from clients import find_digits
from clients.pictures.decode import grey
from clients.pictures.segmentation import find_main
from tests.integration.clients.photographs import photograph, row
from trainer.data.dataset import load_data
from trainer.export.predictor import onnx_predictor

MODELS = Path(__file__).parents[2] / "server" / "models"
LONGEST = 800  # pixels; larger photographs take their time to generate


def main(rows: int) -> None:
    """Print the shares of rows that are read, and of photographs that are taken for one digit."""
    data = load_data(os.environ["DIGITS_DATA_DIR"])
    images, rng = data.x_test.reshape(-1, 28, 28), np.random.default_rng(9)
    version = max((MODELS / "digits").glob("[0-9]*"), key=lambda path: int(path.name))
    predict = onnx_predictor(version / "model.onnx")
    right, counted = 0, 0
    for _ in range(rows):
        chosen = rng.integers(0, len(images), 5)
        found = np.stack([digit.image.ravel() for digit in find_digits(row(images[chosen], rng))])
        counted += len(found) == len(chosen)
        right += predict(found).argmax(axis=1).tolist() == data.y_test[chosen].tolist()
    print(
        f"rows of five digits: {right / rows:.1%} read without an error, {counted / rows:.1%} cut into five"
    )
    photographs = [photograph(images[index], rng, LONGEST) for index in rng.permutation(len(images))[:rows]]
    alone = [find_main(grey(picture, "photograph"), "photograph")[1] == 1 for picture in photographs]
    print(f"photographs of one digit: {np.mean(alone):.1%} are taken for one")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
