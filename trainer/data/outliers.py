"""Outlier exposure: images without a digit, for which a network learns ten equal probabilities.

Hendrycks, Mazeika and Dietterich, "Deep Anomaly Detection with Outlier Exposure", 2019.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from trainer.backend import tf
from trainer.data.dataset import PIXELS, SIDE

COUNT = 24_000
_SEED = 99
_BOX = 20  # pixels; MNIST's digits fit a box of this size
_CANVAS = 112  # pixels, four per pixel of the image
_HALF = SIDE // 2

Pixels = NDArray[np.uint8]


def draw_outliers(images: Pixels) -> Pixels:
    """Return images without a digit, uint8 [COUNT, 784], some of them parts of digits uint8 [n, 784]."""
    rng = np.random.default_rng(_SEED)
    squares = images.reshape(-1, SIDE, SIDE)
    outliers = []
    for _ in range(COUNT // 3):
        left, right, whole = squares[rng.integers(len(squares), size=3)]
        halves = np.concatenate([left[:, _HALF:], right[:, :_HALF]], axis=1)
        outliers += [halves, _shuffled_quarters(whole, rng), _strokes(rng)]
    return np.stack(outliers).reshape(COUNT, PIXELS)


def outlier_loss(probabilities: Any) -> Any:
    """Return the mean cross-entropy of probabilities float32 [n, 10] with ten equal ones."""
    return -tf.reduce_mean(tf.math.log(tf.maximum(probabilities, 1e-7)))


def _shuffled_quarters(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Move at least three of the four quarters of a digit."""
    quarters = [image[y : y + _HALF, x : x + _HALF] for y in (0, _HALF) for x in (0, _HALF)]
    order = np.arange(4)
    while np.count_nonzero(order != np.arange(4)) < 3:  # noqa: PLR2004 - as the docstring says
        order = rng.permutation(4)
    a, b, c, d = (quarters[place] for place in order)
    return np.block([[a, b], [c, d]])


def _strokes(rng: np.random.Generator) -> Pixels:
    """Draw an angular line, or separate bars and perhaps a circle, of a pen's width."""
    picture = Image.new("L", (_CANVAS, _CANVAS))
    draw, width = ImageDraw.Draw(picture), int(rng.integers(6, 14))

    def line(count: int) -> None:
        points = rng.uniform(_CANVAS / 6, _CANVAS * 5 / 6, (count, 2))
        draw.line([tuple(point) for point in points], fill=255, width=width, joint="curve")

    if rng.random() < 0.5:  # noqa: PLR2004 - half of them
        line(int(rng.integers(4, 8)))
    else:
        for _ in range(rng.integers(2, 5)):
            line(2)
        if rng.random() < 0.4:  # noqa: PLR2004 - fewer have a circle
            centre, radius = rng.uniform(30, 82, 2), rng.uniform(8, 26)
            draw.ellipse((*(centre - radius), *(centre + radius)), outline=255, width=width)
    box = picture.getbbox() or (0, 0, _CANVAS, _CANVAS)
    scale = _BOX / max(box[2] - box[0], box[3] - box[1])
    size = (max(1, round((box[2] - box[0]) * scale)), max(1, round((box[3] - box[1]) * scale)))
    image = Image.new("L", (SIDE, SIDE))
    ink = picture.crop(box).resize(size, Image.Resampling.BOX)
    image.paste(ink, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return np.asarray(image)
