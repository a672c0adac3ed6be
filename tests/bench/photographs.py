"""Preparation of photographs by the client and by OpenCV: accuracy, time per picture.

    pip install opencv-python-headless
    python -m tests.bench.photographs [PHOTOGRAPHS]

Needs MNIST in DIGITS_DATA_DIR: the photographs are made from its test images.
"""

import os
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

try:
    import cv2
except ImportError:
    sys.exit("NOT MEASURED: pip install opencv-python-headless")

from clients.errors import InputError
from clients.pictures.decode import grey
from clients.pictures.segmentation import find_main
from tests.integration.clients.photographs import photograph
from tests.shipped import SHIPPED_DIGITS
from trainer.data.dataset import load_data
from trainer.export.predictor import onnx_predictor

Picture = NDArray[np.uint8]
SIDE, BOX, WORKING = 28, 20, 512
# Tuned on other photographs than the measured ones.
WINDOW, SPECK = 101, 0.0005


def ours(picture: Picture) -> Picture:
    """Prepare a picture as the client does."""
    return find_main(picture, "photograph")[0].image


def divided_background(picture: Picture) -> Picture:
    """Divide by the paper (a wide median) before Otsu's threshold; the largest component."""
    small = _small(picture)
    paper = cv2.medianBlur(small, WINDOW)
    smooth = cv2.GaussianBlur(cv2.divide(small, paper, scale=200), (5, 5), 0)
    _, mask = cv2.threshold(smooth, 0, 255, cv2.THRESH_BINARY_INV + cv2.THRESH_OTSU)
    if mask.mean() > 255 / 2:  # light ink
        mask = 255 - mask
    return _mnist(*_largest(np.asarray(mask, np.uint8)))


def adaptive_threshold(picture: Picture) -> Picture:
    """Compare each pixel with the mean around it; the largest component."""
    small = cv2.GaussianBlur(_small(picture), (5, 5), 0)
    method = cv2.ADAPTIVE_THRESH_GAUSSIAN_C
    mask = cv2.adaptiveThreshold(small, 255, method, cv2.THRESH_BINARY_INV, WINDOW, 12)
    return _mnist(*_largest(mask))


def _small(picture: Picture) -> Picture:
    scale = min(1.0, WORKING / max(picture.shape))
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _largest(mask: Picture) -> tuple[Picture, NDArray[np.int32]]:
    """Return the mask of the largest component off the border, and its left, top, width, height."""
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)), np.uint8)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask)
    height, width = mask.shape
    inside = [
        index
        for index, (left, top, w, h, area) in enumerate(statistics)
        if index and area > SPECK * mask.size and left and top and left + w < width and top + h < height
    ] or list(range(1, count))
    if not inside:
        raise InputError("nothing is drawn on it")
    best = max(inside, key=lambda index: statistics[index][4])
    return np.where(labels == best, 255, 0).astype(np.uint8), statistics[best][:4]


def _mnist(mask: Picture, box: NDArray[np.int32]) -> Picture:
    left, top, width, height = map(int, box)
    scale = BOX / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    glyph = cv2.resize(mask[top : top + height, left : left + width], size, interpolation=cv2.INTER_AREA)
    weight = cv2.moments(glyph)
    x, y = (SIDE / 2 - weight[moment] / weight["m00"] - 0.5 for moment in ("m10", "m01"))
    moved = np.array([[1, 0, x], [0, 1, y]], np.float32)
    return np.asarray(cv2.warpAffine(glyph, moved, (SIDE, SIDE)), np.uint8)


WAYS: tuple[Callable[[Picture], Picture], ...] = (ours, divided_background, adaptive_threshold)


def main(photographs: int) -> None:
    """Print a line for each method."""
    data = load_data(os.environ["DIGITS_DATA_DIR"])
    rng = np.random.default_rng(11)
    chosen = rng.permutation(len(data.x_test))[:photographs]
    pictures = [
        grey(photograph(data.x_test[index].reshape(SIDE, SIDE), rng), "photograph") for index in chosen
    ]
    pictures = [picture if rng.random() < 0.5 else 255 - picture for picture in pictures]  # light on dark
    predict = onnx_predictor(SHIPPED_DIGITS / "model.onnx")
    for way in WAYS:
        images, started = [], time.perf_counter()
        for picture in pictures:
            try:
                images.append(way(picture))
            except InputError:
                images.append(np.zeros((SIDE, SIDE), np.uint8))
        each = (time.perf_counter() - started) / len(pictures)
        digits = predict(np.stack(images).reshape(-1, SIDE * SIDE)).argmax(axis=1)
        right = float(np.mean(digits == data.y_test[chosen]))
        print(f"{way.__name__.replace('_', ' '):20} {right:.2%}  {each * 1e3:.0f} ms a picture")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 600)
