"""Augmentation: geometry for every training image, photometry for a share of them.

Random numbers are stateless functions of seed and step, so a resumed run equals an uninterrupted one.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.backend import tf
from trainer.data.dataset import SIDE
from trainer.recipe import Augment

_CENTRE = (SIDE - 1) / 2
_KNOTS = 6
_GRID_Y, _GRID_X = (
    axis.astype(np.float32) - np.float32(_CENTRE) for axis in np.divmod(np.arange(SIDE * SIDE), SIDE)
)  # each (784,), from the centre
_DRAWS = 14
_WIDE = 2.2
_INK_SHARE = 0.6


def augment(images: Any, how: Augment, seed: Any) -> Any:
    """Augment uint8 images [n, 784]; return float32 [n, 784] in 0-255.

    `seed` is int32 [2].
    """
    seed = tf.convert_to_tensor(seed)
    n = tf.shape(images)[0]
    pixels = tf.cast(images, tf.float32)
    # A uniform number in [-1, 1) per image and purpose.
    draws = tf.unstack(tf.random.stateless_uniform((_DRAWS, n), seed, -1.0, 1.0))
    if any((how.shift_pixels, how.rotate_degrees, how.scale, how.shear, how.elastic_pixels)):
        pixels = _warp(pixels, how, [*draws[:6], draws[13]], seed)
    if how.stroke_chance:
        pixels = _choose(draws[6], how.stroke_chance, _stroke(pixels, draws[7]), pixels)
    pixels = _cover(pixels, how, seed)
    if how.contrast_chance:
        keep = 0.65 + 0.35 * draws[8]  # remaining contrast, 0.3-1
        lift = 127.5 * (1 - keep) * (1 + draws[9])  # up to the headroom below 255
        pixels = _choose(draws[10], how.contrast_chance, pixels * keep[:, None] + lift[:, None], pixels)
    pixels = _noise(pixels, how, seed)
    if how.invert_chance:
        pixels = _choose(draws[11], how.invert_chance, 255.0 - pixels, pixels)
    pixels = tf.clip_by_value(pixels, 0.0, 255.0)
    return _choose(draws[12], how.plain_chance, tf.cast(images, tf.float32), pixels)


def _choose(draw: Any, chance: float, varied: Any, plain: Any) -> Any:
    return tf.where(((draw + 1) / 2 < chance)[:, None], varied, plain)


def _warp(pixels: Any, how: Augment, draws: list[Any], seed: Any) -> Any:
    """Sample each image on a grid with affine and elastic displacement, bilinear, zero outside."""
    wide = tf.where((draws[6] + 1) / 2 < how.wide_chance, _WIDE, 1.0)
    angle = draws[0] * math.radians(how.rotate_degrees) * wide
    across, down = 1 + how.scale * draws[1] * wide, 1 + how.scale * draws[2] * wide
    shear = how.shear * draws[3] * wide
    cos, sin = tf.cos(angle), tf.sin(angle)
    # Rotation after shear after scale, row by row; each (n, 1).
    a, b = (across * cos)[:, None], (down * (shear * cos - sin))[:, None]
    c, d = (across * sin)[:, None], (down * (shear * sin + cos))[:, None]
    x0, y0 = tf.constant(_GRID_X), tf.constant(_GRID_Y)
    x = a * x0 + b * y0 + _CENTRE + how.shift_pixels * (draws[4] * wide)[:, None]
    y = c * x0 + d * y0 + _CENTRE + how.shift_pixels * (draws[5] * wide)[:, None]
    if how.elastic_pixels:
        bend = how.elastic_pixels * _smooth_field(tf.shape(pixels)[0], seed)
        x, y = x + bend[0], y + bend[1]
    return _sample(pixels, x, y)


def _smooth_field(n: Any, seed: Any) -> Any:
    """Return smooth random displacements [2, n, 784] of about unit standard deviation."""
    knots = tf.random.stateless_normal((2, n, _KNOTS, _KNOTS), seed + 1)
    basis = tf.constant(_basis())  # (28, knots)
    field = tf.einsum("yk,cnkl,xl->cnyx", basis, knots, basis)
    return tf.reshape(field, (2, n, SIDE * SIDE))


def _basis() -> NDArray[np.float32]:
    """Return Gaussian bumps [28, knots] that spread each knot over its neighbourhood, rows of norm 1."""
    knots = np.linspace(0, SIDE - 1, _KNOTS)
    spacing = knots[1] - knots[0]
    bumps = np.exp(-0.5 * ((np.arange(SIDE)[:, None] - knots) / (0.8 * spacing)) ** 2)
    unit: NDArray[np.float32] = (bumps / np.linalg.norm(bumps, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _sample(pixels: Any, x: Any, y: Any) -> Any:
    """Return pixels [n, 784] at positions x, y [n, 784]; zero outside the image."""
    n = tf.shape(pixels)[0]
    wide = SIDE + 3  # a border of zeros: one pixel before, two behind, for the far neighbour
    padded = tf.reshape(
        tf.pad(tf.reshape(pixels, (n, SIDE, SIDE)), ((0, 0), (1, 2), (1, 2))), (n * wide * wide,)
    )
    x, y = tf.clip_by_value(x + 1, 0.0, SIDE + 1.0), tf.clip_by_value(y + 1, 0.0, SIDE + 1.0)
    left, top = tf.floor(x), tf.floor(y)
    along, down = x - left, y - top
    first = tf.range(n)[:, None] * (wide * wide) + tf.cast(top, tf.int32) * wide + tf.cast(left, tf.int32)
    upper = tf.gather(padded, first) * (1 - along) + tf.gather(padded, first + 1) * along
    lower = tf.gather(padded, first + wide) * (1 - along) + tf.gather(padded, first + wide + 1) * along
    return upper * (1 - down) + lower * down


def _stroke(pixels: Any, draw: Any) -> Any:
    """Dilate (draw > 0) or erode (draw < 0) strokes by up to a pixel."""
    image = tf.reshape(pixels, (-1, SIDE, SIDE, 1))
    thick = tf.nn.max_pool2d(image, 3, 1, "SAME")
    thin = -tf.nn.max_pool2d(-image, 2, 1, "SAME")
    weight = tf.abs(draw)[:, None]
    target = tf.where(
        (draw > 0)[:, None], tf.reshape(thick, tf.shape(pixels)), tf.reshape(thin, tf.shape(pixels))
    )
    return pixels + weight * (target - pixels)


def _cover(pixels: Any, how: Augment, seed: Any) -> Any:
    """Blur a share of the images, draw a line across another, lay a texture behind a third."""
    if not (how.blur_chance or how.line_chance or how.texture_chance):
        return pixels
    n = tf.shape(pixels)[0]
    draws = tf.unstack(tf.random.stateless_uniform((12, n, 1), seed + 5))
    if how.blur_chance:
        once = _box_blur(pixels)
        amount = 2.0 * draws[0]  # in boxes of 3x3
        blurred = tf.where(
            amount < 1, pixels + amount * (once - pixels), once + (amount - 1) * (_box_blur(once) - once)
        )
        pixels = tf.where(draws[1] < how.blur_chance, blurred, pixels)
    if how.line_chance:
        angle, offset = math.pi * draws[2], 18.0 * (draws[3] - 0.5)
        distance = tf.abs(tf.cos(angle) * _GRID_X + tf.sin(angle) * _GRID_Y - offset)
        ink = 255.0 * tf.cast(draws[4] < _INK_SHARE, tf.float32)  # otherwise it would erase strokes
        line = (distance < 0.4 + 1.2 * draws[5]) & (draws[6] < how.line_chance)
        pixels = tf.where(line, ink, pixels)
    if how.texture_chance:
        # Bent waves of 5 pixels and more, from stripes to clouds.
        across, down = 2.6 * (draws[7] - 0.5), 2.6 * (draws[8] - 0.5)  # radians per pixel
        bend = 1.5 * _smooth_field(n, seed + 5)[0]
        wave = 0.5 + 0.5 * tf.sin(across * _GRID_X + down * _GRID_Y + 2 * math.pi * draws[9] + bend)
        behind = pixels + (255.0 - pixels) * 0.8 * draws[10] * wave
        pixels = tf.where(draws[11] < how.texture_chance, behind, pixels)
    return pixels


def _box_blur(pixels: Any) -> Any:
    image = tf.reshape(pixels, (-1, SIDE, SIDE, 1))
    return tf.reshape(tf.nn.avg_pool2d(image, 3, 1, "SAME"), tf.shape(pixels))


def _noise(pixels: Any, how: Augment, seed: Any) -> Any:
    """Add Gaussian noise to a share of the images and stray black and white pixels to another."""
    if not (how.noise_chance or how.impulse_chance):
        return pixels
    n = tf.shape(pixels)[0]
    draws = tf.unstack(tf.random.stateless_uniform((4, n), seed + 2))
    if how.noise_chance:
        strength = 64.0 * draws[0] * tf.cast(draws[1] < how.noise_chance, tf.float32)
        pixels += strength[:, None] * tf.random.stateless_normal(tf.shape(pixels), seed + 3)
    if how.impulse_chance:
        share = 0.2 * draws[2] * tf.cast(draws[3] < how.impulse_chance, tf.float32)
        dice = tf.random.stateless_uniform(tf.shape(pixels), seed + 4)
        pixels = tf.where(dice < share[:, None] / 2, 0.0, pixels)
        pixels = tf.where(dice > 1 - share[:, None] / 2, 255.0, pixels)
    return pixels
