"""Rows of five digits, touching, in printed forms or photographed, and photographs of one digit.

    python -m tests.bench.rows [ROWS]

Needs MNIST in DIGITS_DATA_DIR: the pictures are made from its test images.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from clients import InputError, find_digits
from clients.pictures.decode import grey
from clients.pictures.segmentation import find_main
from tests.integration.clients.photographs import photograph, photographed_row, row, scan
from tests.shipped import SHIPPED_DIGITS
from trainer.data.dataset import load_data
from trainer.export.predictor import Predictor, onnx_predictor

AROUND: tuple[Any, ...] = ("nothing", "boxes", "comb", "lines")
LONGEST = 800  # pixels; larger photographs take their time to generate


def read(page: Image.Image, predict: Predictor) -> list[int]:
    """Return the digits on a page; none if nothing is found."""
    try:
        found = np.stack([digit.image.ravel() for digit in find_digits(page)])
    except InputError:
        return []
    digits: list[int] = predict(found).argmax(axis=1).tolist()
    return digits


def main(rows: int) -> None:
    """Print the shares of rows that are read, and of photographs that are taken for one digit."""
    data = load_data(os.environ["DIGITS_DATA_DIR"])
    images = data.x_test.reshape(-1, 28, 28)
    predict = onnx_predictor(SHIPPED_DIGITS / "model.onnx")
    pages: dict[str, Callable[..., Image.Image]] = {"some touch": row}
    pages |= {f"printed around them: {around}": partial(scan, around=around) for around in AROUND}
    pages["photographed"] = photographed_row
    for name, page in pages.items():
        rng, right = np.random.default_rng(9), 0
        for _ in range(rows):
            chosen = rng.integers(0, len(images), 5)
            right += read(page(images[chosen], rng=rng), predict) == data.y_test[chosen].tolist()
        print(f"rows of five digits, {name}: {right / rows:.1%}")
    rng = np.random.default_rng(9)
    photographs = [photograph(images[index], rng, LONGEST) for index in rng.permutation(len(images))[:rows]]
    alone = [find_main(grey(picture, "photograph"), "photograph")[1] == 1 for picture in photographs]
    print(f"photographs of one digit that are taken for one: {np.mean(alone):.1%}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
