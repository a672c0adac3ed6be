"""Separation of ink from paper: shading, polarity and noise of photographs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from clients.errors import InputError
from clients.pictures.components import Component, find_components, is_frame

# Size at which the paper's shading is estimated; no stroke is as wide as the window.
_SMALL, _WINDOW = 96, 25
_MIN_CONTRAST = 0.03  # of the paper's brightness
_MIN_SEPARATION = 4.0  # relative to the paper's variation
_PATCHY = 40.0  # weight of uneven paper against a polarity
_FRAME = 0.2  # components with more of their outline on the picture's border are not digits


@dataclass(frozen=True, slots=True)
class Foreground:
    """The ink: `amount` float32 (height, width), 0 none and 1 full.

    `contrast` is the difference of ink and paper (1: black on white), `paper_variation` the variation of the
    paper; `dark` says that the ink is darker than the paper; `components` are the connected parts, the most
    probable digit first: large, and not along the border as shadows and tables are.
    """

    amount: NDArray[np.float32]
    dark: bool
    components: tuple[Component, ...]
    contrast: float
    paper_variation: float


def find_foreground(grey: NDArray[np.uint8], name: str) -> Foreground:
    """Separate ink and paper in a grey picture (height, width).

    Raises InputError if the picture is blank.
    """
    radius = max(grey.shape) / 300
    smooth = np.asarray(Image.fromarray(grey).filter(ImageFilter.GaussianBlur(radius)), np.float32)
    found = [ink for ink in (_separate(smooth, dark=True), _separate(smooth, dark=False)) if ink]
    if not found:
        raise InputError(f"{name}: nothing is drawn on it that stands out from the background")
    return max(found, key=_likelihood)


def _likelihood(foreground: Foreground) -> float:
    """Score a polarity.

    With the wrong polarity the paper has patches where the digits are, and the ink is the space between
    strokes, or the light beside a shadow: fainter, with softer edges.
    """
    main = foreground.components[0]
    amount = foreground.amount[main.top : main.bottom, main.left : main.right][main.mask()].mean()
    calm = np.exp(-_PATCHY * foreground.paper_variation)
    return float((foreground.contrast * amount) ** 2 * calm)


def _separate(smooth: NDArray[np.float32], *, dark: bool) -> Foreground | None:
    bright = smooth if dark else 255 - smooth
    paper = np.maximum(_paper(bright), 1)
    # A shadow darkens ink and paper by the same factor, so the ratio is used. For light ink on dark paper
    # (a screen, a blackboard, MNIST) the difference is.
    depth = 1 - bright / paper if dark else (paper - bright) / 255
    some = depth[::2, ::2]  # enough for statistics
    if np.ptp(some) < _MIN_CONTRAST:
        return None
    threshold = _otsu(some)
    paper_depth, ink_depth = some[some <= threshold], some[some > threshold]
    none = float(np.median(paper_depth))
    noise = float(np.percentile(np.abs(paper_depth - none), 68))
    contrast = float(np.median(ink_depth)) - none
    if contrast < max(_MIN_CONTRAST, _MIN_SEPARATION * noise):
        return None
    full = float(np.percentile(ink_depth, 75))
    none = min(none + 2 * noise, full - 1e-3)
    contrast = float(np.median((paper - bright)[depth > threshold])) / 255
    amount = ((depth - none) / (full - none)).clip(0, 1).astype(np.float32)
    found = find_components(depth > threshold)
    digits = [component for component in found if not is_frame(component, found)] or found
    components = sorted(digits, key=lambda component: -component.area * _freedom(component, amount.shape))
    variation = float(paper.std()) / 255
    return Foreground(amount, dark, tuple(components), contrast, variation) if components else None


def _freedom(component: Component, shape: tuple[int, ...]) -> float:
    """Return 1 for components away from the border, down to 0.1 along it."""
    return max(0.1, 1 - component.border_share(shape) / _FRAME)


def _paper(bright: NDArray[np.float32]) -> NDArray[np.float32]:
    """Estimate the shade of the paper: remove strokes, keep shadows."""
    height, width = bright.shape
    scale = _SMALL / max(height, width)
    small = _resized(bright, (max(1, round(width * scale)), max(1, round(height * scale))))
    # Shadows at the border are extended beyond it, or narrow ones would be removed like strokes.
    beyond = np.pad(small, _WINDOW, mode="edge")
    closed = -spread(-spread(beyond, _WINDOW // 2), _WINDOW // 2)[_WINDOW:-_WINDOW, _WINDOW:-_WINDOW]
    blurred = Image.fromarray(closed.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(3))
    return _resized(np.asarray(blurred, np.float32), (width, height))


def spread(values: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Return the maximum of `values` within `reach` rows and columns of each position."""
    for axis in (0, 1):
        pad = [(reach, reach) if axis == other else (0, 0) for other in (0, 1)]
        padded = np.pad(values, pad, mode="edge")
        values = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis).max(-1)
    return values


def _resized(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR), np.float32)


def _otsu(values: NDArray[np.floating[Any]]) -> float:
    """Return the threshold that best separates `values` into two classes (Otsu, 1979)."""
    counts, edges = np.histogram(values, 256)
    middles = (edges[:-1] + edges[1:]) / 2
    below = counts.cumsum()
    above = counts.sum() - below
    sums = (counts * middles).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(middles[np.nanargmax(between[:-1])])
