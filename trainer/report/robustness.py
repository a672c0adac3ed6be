"""Accuracy on corrupted digits, and confidence on out-of-distribution images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from trainer.data.dataset import PIXELS, SIDE
from trainer.export.predictor import Predictor
from trainer.report.scores import Metrics

CONFIDENT = 0.9
"""A confidence that people would act on."""

MAX_IMAGES = 2000
"""More would take long on a slow network and move no figure by more than a point."""

_OOD_IMAGES = 500
_SEED = 28
_WHITE = 255.0
_CENTRE = np.full(2, (SIDE - 1) / 2)

Pixels = NDArray[np.float64]
"""Images float64 [n, 28, 28] in 0-255."""

Corrupt = Callable[[Pixels, float, np.random.Generator], Pixels]
"""From images, a strength and a random generator to corrupted images."""


@dataclass(frozen=True)
class Corruption:
    """A kind of corruption at one strength; `metric` is its key in metrics.json, `level` is for people."""

    metric: str
    title: str
    level: str
    strength: float
    function: Corrupt

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return corrupted uint8 images [n, 784]; deterministic."""
        pixels = images.reshape(-1, SIDE, SIDE).astype(np.float64)
        corrupted = self.function(pixels, self.strength, np.random.default_rng(_SEED))
        return np.clip(np.rint(corrupted), 0, _WHITE).astype(np.uint8).reshape(len(images), -1)


def measure_robustness(predict: Predictor, images: NDArray[np.uint8], digits: NDArray[np.int64]) -> Metrics:
    """Measure the accuracy on up to 2,000 corrupted test images [n, 784], evenly chosen."""
    chosen = np.unique(np.linspace(0, len(digits) - 1, min(len(digits), MAX_IMAGES)).astype(np.int64))
    x, y = images[chosen], digits[chosen]

    def accuracy(corrupted: NDArray[np.uint8]) -> float:
        return float((predict(corrupted).argmax(axis=1) == y).mean())

    table = {each.metric: accuracy(each.apply(x)) for each in CORRUPTIONS}
    return {
        "robustness_images": len(y),
        "robustness_clean_accuracy": accuracy(x),
        "robustness_mean_accuracy": float(np.mean(list(table.values()))),
        "robustness_worst_accuracy": min(table.values()),
        **table,
    }


def out_of_distribution(images: NDArray[np.uint8]) -> dict[str, tuple[str, NDArray[np.uint8]]]:
    """Return title and images of each kind of images without a digit, some made from images [n, 784]."""
    rng = np.random.default_rng(_SEED)
    some = images[rng.integers(0, len(images), _OOD_IMAGES)]
    return {
        "noise": ("Uniform noise", rng.integers(0, 256, (_OOD_IMAGES, PIXELS), np.uint8)),
        "shuffled": ("A digit's pixels, shuffled", rng.permuted(some, axis=1)),
        "clouds": ("Smooth clouds", _clouds(rng)),
        "lines": ("Straight lines", _lines(rng)),
        "blank": ("Blank", np.zeros((1, PIXELS), np.uint8)),
        "full": ("All white", np.full((1, PIXELS), 255, np.uint8)),
    }


def measure_out_of_distribution(
    predict: Predictor, images: NDArray[np.uint8], confidence: NDArray[np.float32]
) -> Metrics:
    """Measure the confidence in images without a digit against that in test images [n, 784].

    `auroc` is the probability that such an image gets a lower confidence than a test image, whose are
    `confidence` [n]: 1 is perfect, 0.5 is chance.
    """
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415  # a second to import

    table: Metrics = {}
    for name, (_, unknown) in out_of_distribution(images).items():
        theirs = predict(unknown).max(axis=1)
        is_digit = np.repeat([1, 0], [len(confidence), len(theirs)])
        table |= {
            f"ood_{name}_mean_confidence": float(theirs.mean()),
            f"ood_{name}_confident_share": float((theirs >= CONFIDENT).mean()),
            f"ood_{name}_auroc": float(roc_auc_score(is_digit, np.concatenate([confidence, theirs]))),
        }
    return table


def _clouds(rng: np.random.Generator) -> NDArray[np.uint8]:
    smooth = ndimage.gaussian_filter(rng.normal(size=(_OOD_IMAGES, SIDE, SIDE)), (0, 3, 3))
    low, high = smooth.min(axis=(1, 2), keepdims=True), smooth.max(axis=(1, 2), keepdims=True)
    return np.asarray(255 * (smooth - low) / (high - low), np.uint8).reshape(-1, PIXELS)


def _lines(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw two random strokes across each image, about as thick as a pen's."""
    y, x = np.mgrid[:SIDE, :SIDE] - _CENTRE[0]
    angle = rng.uniform(0, np.pi, (_OOD_IMAGES, 2, 1, 1))
    offset = rng.uniform(-8, 8, (_OOD_IMAGES, 2, 1, 1))
    distance = np.abs(x * np.cos(angle) + y * np.sin(angle) - offset).min(axis=1)
    return np.asarray(255 * np.clip(2 - distance, 0, 1), np.uint8).reshape(-1, PIXELS)


def _affine(pixels: Pixels, matrices: Pixels, shifts: Pixels | None = None) -> Pixels:
    """Transform each image by its matrix [n, 2, 2] about the centre and its shift [n, 2]."""
    shifts = np.zeros((len(pixels), 2)) if shifts is None else shifts
    return np.stack(
        [
            ndimage.affine_transform(image, matrix, _CENTRE - matrix @ _CENTRE + shift, order=1)
            for image, matrix, shift in zip(pixels, matrices, shifts, strict=True)
        ]
    )


def _shift(pixels: Pixels, distance: float, rng: np.random.Generator) -> Pixels:
    angle = rng.integers(0, 8, len(pixels)) * (np.pi / 4)
    shifts = np.rint(distance * np.stack([np.sin(angle), np.cos(angle)], axis=1))
    return _affine(pixels, np.broadcast_to(np.eye(2), (len(pixels), 2, 2)), shifts)


def _rotate(pixels: Pixels, degrees: float, rng: np.random.Generator) -> Pixels:
    angle = np.radians(degrees) * rng.choice([-1.0, 1.0], len(pixels))
    cos, sin = np.cos(angle), np.sin(angle)
    return _affine(pixels, np.stack([cos, -sin, sin, cos], axis=1).reshape(-1, 2, 2))


def _shear(pixels: Pixels, slope: float, rng: np.random.Generator) -> Pixels:
    matrices = np.tile(np.eye(2), (len(pixels), 1, 1))
    matrices[:, 1, 0] = slope * rng.choice([-1.0, 1.0], len(pixels))
    return _affine(pixels, matrices)


def _scale(pixels: Pixels, percent: float, _rng: np.random.Generator) -> Pixels:
    return _affine(pixels, np.broadcast_to(np.eye(2) * (100 / percent), (len(pixels), 2, 2)))


def _thin(pixels: Pixels, percent: float, _rng: np.random.Generator) -> Pixels:
    """Blend each pixel with the minimum of its 2x2 neighbourhood."""
    eroded: Pixels = ndimage.grey_erosion(pixels, (1, 2, 2))
    return pixels + percent / 100 * (eroded - pixels)


def _impulse(pixels: Pixels, percent: float, rng: np.random.Generator) -> Pixels:
    dice, half = rng.random(pixels.shape), percent / 200
    return np.where(dice < half, 0.0, np.where(dice > 1 - half, _WHITE, pixels))


# name, title, function, strengths from mild to strong, unit in metric names, label for people
_KINDS: tuple[tuple[str, str, Corrupt, tuple[float, ...], str, str], ...] = (
    ("shift", "Shifted", _shift, (1, 2, 4), "pixels", "{:g} px"),
    ("rotate", "Rotated", _rotate, (10, 20, 30), "degrees", "{:g}°"),
    ("shear", "Sheared", _shear, (0.15, 0.3, 0.45), "slope", "{:g}"),
    ("shrink", "Smaller", _scale, (85, 70, 55), "percent", "{:g} %"),
    ("enlarge", "Larger", _scale, (110, 120, 130), "percent", "{:g} %"),
    ("thin", "Thinner strokes", _thin, (50, 75, 100), "percent", "{:g} %"),
    ("thick", "Thicker strokes", lambda p, s, _: ndimage.grey_dilation(p, (1, int(s), int(s))),
     (2, 3, 4), "pixels", "{:g} px"),
    ("blur", "Blurred", lambda p, s, _: ndimage.gaussian_filter(p, (0, s, s)),
     (0.5, 1, 1.5), "pixels", "sigma {:g} px"),
    ("noise", "Gaussian noise", lambda p, s, rng: p + rng.normal(0, s, p.shape),
     (25, 50, 75), "levels", "sigma {:g}"),
    ("impulse", "Impulse noise", _impulse, (5, 10, 20), "percent", "{:g} %"),
    ("contrast", "Low contrast", lambda p, s, _: p * (s / 100), (70, 40, 20), "percent", "{:g} %"),
    ("background", "Grey background", lambda p, s, _: _WHITE * s / 100 + p * (1 - s / 100),
     (20, 40, 60), "percent", "{:g} %"),
    ("invert", "Inverted", lambda p, _s, _: _WHITE - p, (100,), "percent", "dark on light"),
)  # fmt: skip

CORRUPTIONS = tuple(
    Corruption(
        f"robustness_{name}_{f'{strength:g}'.replace('.', '_')}_{unit}_accuracy",
        *(title, label.format(strength), strength, function),
    )
    for name, title, function, strengths, unit, label in _KINDS
    for strength in strengths
)
