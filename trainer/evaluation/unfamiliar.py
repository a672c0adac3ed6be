"""What a model says about images that show no digit: at best, nothing with confidence."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from trainer.data.values import PIXELS, SIDE
from trainer.prediction import Predictor

CONFIDENT = 0.9
"""A confidence that people would act on."""

_IMAGES = 500
_SEED = 29
_WHITE = 255


@dataclass(frozen=True)
class Unfamiliar:
    """The answers to one kind of image without a digit.

    `confident_share` had confidence 0.9 or more. `separation` is how often such an image has less
    confidence than a real test image: 1 is always, 0.5 is no better than a coin (the area under the ROC
    curve).
    """

    name: str
    title: str
    images: int
    mean_confidence: float
    confident_share: float
    separation: float
    example: NDArray[np.uint8]


def measure_unfamiliar(
    predict: Predictor, images: NDArray[np.uint8], confidence: NDArray[np.float32]
) -> tuple[Unfamiliar, ...]:
    """Ask about images without digits, made by chance and from test images [n, 784].

    `confidence` [n] is the model's on the test images.
    """
    rng = np.random.default_rng(_SEED)
    some = images[rng.integers(0, len(images), _IMAGES)]
    kinds = {
        "noise": ("Uniform noise", rng.integers(0, _WHITE + 1, (_IMAGES, PIXELS), np.uint8)),
        "shuffled": ("A digit's pixels, shuffled", rng.permuted(some, axis=1)),
        "clouds": ("Smooth clouds", _clouds(rng)),
        "lines": ("Straight lines", _lines(rng)),
        "blank": ("Blank", np.zeros((1, PIXELS), np.uint8)),
        "full": ("All ink", np.full((1, PIXELS), _WHITE, np.uint8)),
    }
    return tuple(
        _judge(name, title, unfamiliar, predict(unfamiliar).max(axis=1), confidence)
        for name, (title, unfamiliar) in kinds.items()
    )


def _judge(
    name: str, title: str, images: NDArray[np.uint8], theirs: NDArray[np.float32], real: NDArray[np.float32]
) -> Unfamiliar:
    # Ranks among the real ones; a tie counts half.
    ordered = np.sort(real)
    below = (np.searchsorted(ordered, theirs, "left") + np.searchsorted(ordered, theirs, "right")) / 2
    return Unfamiliar(
        name=name,
        title=title,
        images=len(images),
        mean_confidence=float(theirs.mean()),
        confident_share=float((theirs >= CONFIDENT).mean()),
        separation=float(1 - below.mean() / len(real)),
        example=images[0],
    )


def _clouds(rng: np.random.Generator) -> NDArray[np.uint8]:
    smooth = ndimage.gaussian_filter(rng.normal(size=(_IMAGES, SIDE, SIDE)), (0, 3, 3))
    low, high = smooth.min(axis=(1, 2), keepdims=True), smooth.max(axis=(1, 2), keepdims=True)
    return _as_images((smooth - low) / (high - low))


def _lines(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Two strokes across the image at random, about as thick as a pen's."""
    y, x = np.mgrid[:SIDE, :SIDE]
    angle = rng.uniform(0, np.pi, (_IMAGES, 2, 1, 1))
    offset = rng.uniform(-8, 8, (_IMAGES, 2, 1, 1))
    centre = (SIDE - 1) / 2
    distance = np.abs((x - centre) * np.cos(angle) + (y - centre) * np.sin(angle) - offset).min(axis=1)
    return _as_images(np.clip(2 - distance, 0, 1))


def _as_images(ink: NDArray[np.float64]) -> NDArray[np.uint8]:
    images: NDArray[np.uint8] = (_WHITE * ink).astype(np.uint8).reshape(-1, PIXELS)
    return images
