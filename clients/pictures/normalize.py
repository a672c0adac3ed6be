"""Normalization of digits as in MNIST.

MNIST's digits, white on black, were scaled with anti-aliasing to fit a 20x20 box, and placed in a 28x28 image
with their centre of mass in the middle.
"""

import contextlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from clients.errors import InputError
from clients.pictures.components import Component, gap, join
from clients.pictures.foreground import Foreground, find_foreground, spread

_SIDE, _BOX = 28, 20
_WORKING_SIDE = 512  # larger pictures are reduced to this size first
_HALF = 127
_BLANK = 10  # of 255: minimum contrast of ink in a 28x28 picture
_THIN, _WANTED = 1.6, 2.4  # stroke width in the 20x20 box, pixels; MNIST has 2 to 4
_SPECK = 0.04  # minimum area of a component by that of the digit


@dataclass(frozen=True, slots=True)
class FoundDigit:
    """A normalized digit of a picture.

    `image` is uint8 (28, 28); `box` is left, top, right, bottom in pixels of the picture;
    `steps` describe the preparation.
    """

    image: NDArray[np.uint8]
    box: tuple[int, int, int, int]
    steps: tuple[str, ...]


def as_it_is(grey: NDArray[np.uint8], name: str) -> FoundDigit:
    """Return a 28x28 picture as it is, inverted if black on white. Raises InputError if it is blank."""
    if np.ptp(grey) < _BLANK:
        raise InputError(f"{name}: nothing is drawn on it that stands out from the background")
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    light_paper = np.median(edge) > _HALF
    steps = ("28x28 taken as it is", *(["turned white on black"] if light_paper else []))
    return FoundDigit(255 - grey if light_paper else grey, (0, 0, _SIDE, _SIDE), steps)


def separated(grey: NDArray[np.uint8], name: str) -> tuple[Foreground, float]:
    """Separate the foreground of a reduced picture; also return the factor of the reduction.

    Strokes that would vanish in the reduction are widened first. Raises InputError if the picture is blank.
    """
    working, scale = _reduced(grey)
    try:
        return find_foreground(working, name), scale
    except InputError:
        if scale == 1:
            raise
    reach = 2 * round(1 / scale) + 1
    for widen in (
        ImageFilter.MinFilter(reach),
        ImageFilter.MaxFilter(reach),
    ):  # dark strokes, then light ones
        with contextlib.suppress(InputError):
            return find_foreground(_reduced(np.asarray(Image.fromarray(grey).filter(widen)))[0], name), scale
    raise InputError(f"{name}: nothing is drawn on it that stands out from the background")


def _reduced(grey: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """Reduce a large picture; also return the factor."""
    scale = min(1.0, _WORKING_SIDE / max(grey.shape))
    if scale == 1:
        return grey, scale
    size = (max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale)))
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BOX)), scale


def main_component(foreground: Foreground) -> Component:
    """Return the most probable component, merged with parts such as the bar of a 5."""
    main = foreground.components[0]
    reach = 0.25 * max(main.height, main.width)
    parts = [
        component
        for component in foreground.components[1:]
        if _SPECK * main.area < component.area < main.area
        and gap(component, main) < reach
        and not component.border_share(foreground.amount.shape)
    ]
    return join([main, *parts])


def framed(foreground: Foreground, component: Component, scale: float) -> FoundDigit:
    """Crop a component, scale it to the 20x20 box and centre its mass."""
    mask = component.mask()
    amount = foreground.amount[component.top : component.bottom, component.left : component.right]
    # The mask ends where a stroke has half its ink; include the rest of the edge.
    digit = np.where(spread(mask.astype(np.float32), 2) > 0, amount, 0)
    fit = _BOX / max(digit.shape)
    steps = [f"{'dark ink on light' if foreground.dark else 'light ink on dark'} background"]
    stroke = component.stroke_width * fit
    if stroke < _THIN:
        grow = round((_WANTED - stroke) / fit / 2)
        digit = spread(np.pad(digit, grow), grow)
        fit = _BOX / max(digit.shape)
        steps.append(f"strokes of {stroke:.1f} pixels thickened to {_WANTED}")
    size = (max(1, round(digit.shape[1] * fit)), max(1, round(digit.shape[0] * fit)))
    small = np.asarray(Image.fromarray(digit).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)
    box = tuple(
        round(value / scale) for value in (component.left, component.top, component.right, component.bottom)
    )
    steps.append(
        f"{box[2] - box[0]}x{box[3] - box[1]} pixels at {box[0]},{box[1]} scaled to {size[0]}x{size[1]}"
    )
    image = _centred(np.rint(small * 255).astype(np.uint8))
    return FoundDigit(image, (box[0], box[1], box[2], box[3]), tuple(steps))


def _centred(digit: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = digit.shape
    mass = digit.astype(np.float64) / max(1, int(digit.sum()))
    row = float(mass.sum(axis=1) @ np.arange(height))
    column = float(mass.sum(axis=0) @ np.arange(width))
    top = min(max(round((_SIDE - 1) / 2 - row), 0), _SIDE - height)
    left = min(max(round((_SIDE - 1) / 2 - column), 0), _SIDE - width)
    field = np.zeros((_SIDE, _SIDE), np.uint8)
    field[top : top + height, left : left + width] = digit
    return field
