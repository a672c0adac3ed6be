"""What happens to digits on the way to a model: moved, turned, blurred, faint, noisy, inverted."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from trainer.data.values import SIDE

_CENTRE = (SIDE - 1) / 2
_WHITE = 255.0

Pixels = NDArray[np.float64]
"""Images float64 [n, 28, 28] in 0-255."""

Damage = Callable[[Pixels, np.random.Generator], Pixels]


@dataclass(frozen=True)
class Level:
    """One strength of a corruption: `label` for people, `key` for metric names."""

    key: str
    label: str
    damage: Damage


@dataclass(frozen=True)
class Corruption:
    """One thing that can be wrong with images, mildest level first."""

    name: str
    title: str
    levels: tuple[Level, ...]


def corrupt(images: NDArray[np.uint8], level: Level, seed: int) -> NDArray[np.uint8]:
    """Return uint8 images [n, 784], damaged; the same seed gives the same damage."""
    pixels = images.reshape(-1, SIDE, SIDE).astype(np.float64)
    damaged = level.damage(pixels, np.random.default_rng(seed))
    return np.clip(np.rint(damaged), 0, _WHITE).astype(np.uint8).reshape(len(images), -1)


def _affine(matrices: Pixels, shifts: Pixels) -> Callable[[Pixels], Pixels]:
    """Return a function that samples each image at matrix [n, 2, 2] times (y, x) about its centre, plus shift."""

    def warp(pixels: Pixels) -> Pixels:
        centre = np.array([_CENTRE, _CENTRE])
        return np.stack(
            [
                ndimage.affine_transform(image, matrix, centre - matrix @ centre + shift, order=1)
                for image, matrix, shift in zip(pixels, matrices, shifts, strict=True)
            ]
        )

    return warp


def _either_way(rng: np.random.Generator, n: int) -> Pixels:
    signs: Pixels = rng.choice([-1.0, 1.0], n)
    return signs


def _shift(distance: float) -> Damage:
    def damage(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        n = len(pixels)
        angle = rng.integers(0, 8, n) * (np.pi / 4)
        shifts = np.rint(distance * np.stack([np.sin(angle), np.cos(angle)], axis=1))
        return _affine(np.broadcast_to(np.eye(2), (n, 2, 2)), shifts)(pixels)

    return damage


def _rotate(degrees: float) -> Damage:
    def damage(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        angle = np.radians(degrees) * _either_way(rng, len(pixels))
        cos, sin = np.cos(angle), np.sin(angle)
        matrices = np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1)
        return _affine(matrices, np.zeros((len(pixels), 2)))(pixels)

    return damage


def _shear(slope: float) -> Damage:
    def damage(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        matrices = np.tile(np.eye(2), (len(pixels), 1, 1))
        matrices[:, 1, 0] = slope * _either_way(rng, len(pixels))
        return _affine(matrices, np.zeros((len(pixels), 2)))(pixels)

    return damage


def _scale(factor: float) -> Damage:
    def damage(pixels: Pixels, _rng: np.random.Generator) -> Pixels:
        n = len(pixels)
        return _affine(np.broadcast_to(np.eye(2) / factor, (n, 2, 2)), np.zeros((n, 2)))(pixels)

    return damage


def _blur(sigma: float) -> Damage:
    return lambda pixels, _rng: ndimage.gaussian_filter(pixels, (0, sigma, sigma))


def _noise(sigma: float) -> Damage:
    return lambda pixels, rng: pixels + rng.normal(0, sigma, pixels.shape)


def _stray_pixels(share: float) -> Damage:
    def damage(pixels: Pixels, rng: np.random.Generator) -> Pixels:
        dice = rng.random(pixels.shape)
        return np.where(dice < share / 2, 0.0, np.where(dice > 1 - share / 2, _WHITE, pixels))

    return damage


def _faint(keep: float) -> Damage:
    return lambda pixels, _rng: pixels * keep


def _grey_paper(level: float) -> Damage:
    return lambda pixels, _rng: _WHITE * level + pixels * (1 - level)


def _thicker(by: int) -> Damage:
    return lambda pixels, _rng: ndimage.grey_dilation(pixels, (1, by, by))


def _thinner(share: float) -> Damage:
    """Move each pixel this far towards the darkest of its 2x2 neighbourhood."""
    return lambda pixels, _rng: pixels + share * (ndimage.grey_erosion(pixels, (1, 2, 2)) - pixels)


def _inverted(pixels: Pixels, _rng: np.random.Generator) -> Pixels:
    return _WHITE - pixels


def _levels(
    make: Callable[[float], Damage], strengths: tuple[float, ...], unit: str, label: str
) -> tuple[Level, ...]:
    return tuple(
        Level(f"{f'{strength:g}'.replace('.', '_')}_{unit}", label.format(strength), make(strength))
        for strength in strengths
    )


def _percent(make: Callable[[float], Damage]) -> Callable[[float], Damage]:
    return lambda percent: make(percent / 100)


CORRUPTIONS = (
    Corruption("shift", "Shifted", _levels(_shift, (1, 2, 4), "pixels", "{:g} px")),
    Corruption("rotate", "Rotated", _levels(_rotate, (10, 20, 30), "degrees", "{:g}°")),
    Corruption("shear", "Sheared", _levels(_shear, (0.15, 0.3, 0.45), "slope", "{:g}")),
    Corruption("shrink", "Smaller", _levels(_percent(_scale), (85, 70, 55), "percent", "{:g} %")),
    Corruption("enlarge", "Larger", _levels(_percent(_scale), (110, 120, 130), "percent", "{:g} %")),
    Corruption("thin", "Thinner strokes", _levels(_percent(_thinner), (50, 75, 100), "percent", "{:g} %")),
    Corruption(
        "thick", "Thicker strokes", _levels(lambda by: _thicker(int(by)), (2, 3, 4), "pixels", "{:g} px")
    ),
    Corruption("blur", "Blurred", _levels(_blur, (0.5, 1, 1.5), "pixels", "{:g} px")),
    Corruption("noise", "Gaussian noise", _levels(_noise, (25, 50, 75), "levels", "± {:g} of 255")),
    Corruption("stray", "Stray pixels", _levels(_percent(_stray_pixels), (5, 10, 20), "percent", "{:g} %")),
    Corruption("faint", "Faint ink", _levels(_percent(_faint), (70, 40, 20), "percent", "{:g} %")),
    Corruption("grey", "Grey paper", _levels(_percent(_grey_paper), (20, 40, 60), "percent", "{:g} %")),
    Corruption("inverted", "Inverted", (Level("full", "dark on light", _inverted),)),
)
