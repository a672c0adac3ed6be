"""Segmentation of pictures with several digits."""

from itertools import pairwise
from statistics import median

import numpy as np
from numpy.typing import NDArray

from clients.pictures.components import Component, gap, join
from clients.pictures.foreground import Foreground
from clients.pictures.normalize import FoundDigit, as_it_is, framed, main_component, separated

_FRAME = 0.2  # share of a box's outline on the picture's border above which it is not a digit
_SHORT = 0.4  # height below which it is a dot, a comma or a fragment, by the median height
_LINE = 0.2  # vertical distance of a digit's middle from its line, by its height
_HAIR, _UPRIGHT = 0.06, 0.2  # area of a line by its height squared; width of an upright one by its height
_DIVIDER, _CORNER = 1.15, 1.4  # height of upright lines and of corners of a frame by that of digits
_NEAR, _TALL = 0.25, 1.4  # distance of a part, and the height of a digit with its parts, by the median height
_OVERLAP = 0.5  # horizontal overlap of parts of one digit, by the narrower width
_WIDE, _VERY_WIDE = 1.15, 1.4  # width of digits that may touch, and of those that do, by their height
_STRAY = 0.4  # distance of a cut from equal widths, by a digit's width
_INDIFFERENT, _SLANT = 0.05, 0.1  # costs relative to ink: distance from the middle, and a step to the side
_USUAL_WIDTH = 0.75  # width of one of several touching digits, by their height


def find_row(grey: NDArray[np.uint8], name: str) -> list[FoundDigit]:
    """Find the digits in a grey picture (height, width), in reading order.

    Touching digits are cut where the bridge is thinnest. Raises InputError if the picture is blank.
    """
    foreground, scale = separated(grey, name)
    return [framed(foreground, digit, scale) for digit in _digits(foreground)]


def find_main(grey: NDArray[np.uint8], name: str) -> tuple[FoundDigit, int]:
    """Find the most probable digit in a grey picture (height, width), and count all digits.

    A 28x28 picture is one digit, white on black as in MNIST or black on white. Raises InputError if it is
    blank.
    """
    if grey.shape == (28, 28):
        return as_it_is(grey, name), 1
    foreground, scale = separated(grey, name)
    return framed(foreground, main_component(foreground), scale), len(_digits(foreground))


def _digits(foreground: Foreground) -> list[Component]:
    components = [
        component
        for component in foreground.components
        if component.border_share(foreground.amount.shape) < _FRAME
    ] or [foreground.components[0]]
    usual = _usual_height(
        [component for component in components if not _is_hairline(component)] or components
    )
    components = [component for component in components if not _is_of_a_form(component, usual)]
    pieces: list[Component] = []
    for component in sorted(components, key=lambda component: -component.height):
        homes = [n for n, piece in enumerate(pieces) if _belongs(component, piece, usual)]
        if homes:
            home = min(homes, key=lambda n: gap(component, pieces[n]))
            pieces[home] = join([pieces[home], component])
        elif component.height > _SHORT * usual:
            pieces.append(component)
    return [digit for line in _lines(pieces) for piece in line for digit in _cut_apart(piece, usual)]


def _usual_height(components: list[Component]) -> float:
    tallest = max(component.height for component in components)
    return median(component.height for component in components if component.height > _SHORT * tallest)


def _is_hairline(component: Component) -> bool:
    return component.area < _HAIR * component.height**2


def _is_of_a_form(component: Component, usual: float) -> bool:
    """Tell whether a component is a line between boxes; a thin 1 is not taller than its neighbours."""
    upright = component.width < _UPRIGHT * component.height
    tall = component.height > (_DIVIDER if upright else _CORNER) * usual
    return tall and _is_hairline(component)


def _belongs(part: Component, digit: Component, usual: float) -> bool:
    """Tell whether a component is a part of a digit: a short one beside it, or one above, below or inside."""
    height = max(part.bottom, digit.bottom) - min(part.top, digit.top)
    if gap(part, digit) > _NEAR * usual or height > _TALL * usual:
        return False
    across = min(part.right, digit.right) - max(part.left, digit.left)
    return part.height < _SHORT * usual or across > _OVERLAP * min(part.width, digit.width)


def _lines(pieces: list[Component]) -> list[list[Component]]:
    """Sort pieces into lines from top to bottom, each from left to right."""
    lines: list[list[Component]] = []
    for piece in sorted(pieces, key=lambda piece: piece.top + piece.bottom):
        middle = (piece.top + piece.bottom) / 2
        if lines and middle < max(other.bottom for other in lines[-1]) + _LINE * piece.height:
            lines[-1].append(piece)
        else:
            lines.append([piece])
    return [sorted(line, key=lambda piece: piece.left + piece.right) for line in lines]


def _cut_apart(piece: Component, usual: float, wide: float = _WIDE) -> list[Component]:
    """Cut touching digits along the seams with the least ink."""
    height = max(piece.height, usual)
    if piece.width <= wide * height:
        return [piece]
    most = max(2, round(piece.width / (_USUAL_WIDTH * height)))
    mask = piece.mask()
    cuts = [_seams(mask, count) for count in range(2, most + 1)]
    seams = min(cuts, key=lambda seams: _crossed(mask, seams))
    if piece.width <= _VERY_WIDE * height and _crossed(mask, seams) > piece.stroke_width:
        return [piece]  # a wide 0 or 2: a seam crosses two of its strokes
    ends = [np.zeros(piece.height, np.int64), *seams, np.full(piece.height, piece.width)]
    parts = [part for left, right in pairwise(ends) if (part := _between(piece, left, right))]
    whole = [part for part in parts if part.height > _SHORT * usual]
    return [digit for part in whole for digit in _cut_apart(part, usual, _VERY_WIDE)] or [piece]


def _seams(mask: NDArray[np.bool_], count: int) -> list[NDArray[np.int64]]:
    """Return the seams between `count` touching digits, each a column for each row."""
    share = mask.shape[1] / count
    seams = []
    for n in range(1, count):
        start, end = int((n - _STRAY) * share), int((n + _STRAY) * share)
        seams.append(start + _seam(mask[:, start:end]))
    return seams


def _crossed(mask: NDArray[np.bool_], seams: list[NDArray[np.int64]]) -> int:
    """Return the ink on all seams, in pixels."""
    return int(np.sum([mask[np.arange(len(mask)), seam].sum() for seam in seams]))


def _seam(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the column in each row of the path from top to bottom that crosses the least ink."""
    height, width = mask.shape
    middle = np.abs(np.arange(width) - width / 2) / width
    costs = mask + _INDIFFERENT * middle
    steps = np.zeros((height, width), np.int64)
    total = costs[0]
    for row in range(1, height):
        sides = np.pad(total + _SLANT, 1, constant_values=np.inf)
        choices = np.stack([sides[:-2], total, sides[2:]])
        steps[row] = choices.argmin(axis=0) - 1
        total = choices.min(axis=0) + costs[row]
    seam = np.empty(height, np.int64)
    seam[-1] = total.argmin()
    for row in range(height - 1, 0, -1):
        seam[row - 1] = seam[row] + steps[row, seam[row]]
    return seam


def _between(piece: Component, left: NDArray[np.int64], right: NDArray[np.int64]) -> Component | None:
    """Return the part of a piece between two seams (columns from its left side in each row)."""
    clipped = (
        (
            row,
            max(start, piece.left + int(left[row - piece.top])),
            min(end, piece.left + int(right[row - piece.top])),
        )
        for row, start, end in piece.runs
    )
    runs = [run for run in clipped if run[1] < run[2]]
    return Component.of(runs) if runs else None
