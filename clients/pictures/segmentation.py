"""Several digits in one picture: a zip code, a row of a form, a page of them."""

from itertools import pairwise
from statistics import median

import numpy as np
from numpy.typing import NDArray

from clients.pictures.components import Component, join
from clients.pictures.foreground import find_foreground
from clients.pictures.normalize import FoundDigit, framed, reduced

_FRAME = 0.2  # of a box's outline on the picture's border: no digit
_SHORT = 0.4  # of the usual height: a dot, a comma, part of something
_HAIR, _DIVIDER = 0.12, 1.15  # width of a line by its height; its height by that of digits
_OVERLAP = 0.5  # of the narrower one's width: parts of one digit
_WIDE = 1.4  # of its own and the usual height: digits that touch
_USUAL_WIDTH = 0.75  # of the height, where they touch


def find_row(grey: NDArray[np.uint8], name: str) -> list[FoundDigit]:
    """Find the digits in a grey picture (height, width), in reading order.

    Digits that touch are cut apart where the bridge is thinnest. Raises InputError where nothing is
    drawn.
    """
    working, scale = reduced(grey)
    foreground = find_foreground(working, name)
    components = [
        component for component in foreground.components if component.border_share(working.shape) < _FRAME
    ] or [foreground.components[0]]
    usual = _usual_height(
        [component for component in components if not _is_hairline(component)] or components
    )
    # Between the boxes of a form; an upright 1 is as thin, but no taller than its neighbours.
    components = [
        component
        for component in components
        if not (_is_hairline(component) and component.height > _DIVIDER * usual)
    ]
    pieces: list[Component] = []
    for component in sorted(components, key=lambda component: -component.height):
        home = next((n for n, piece in enumerate(pieces) if _belongs(component, piece, usual)), None)
        if home is not None:
            pieces[home] = join([pieces[home], component])
        elif component.height > _SHORT * usual:
            pieces.append(component)
    digits = [digit for line in _lines(pieces) for piece in line for digit in _cut_apart(piece, usual)]
    return [framed(foreground, digit, scale) for digit in digits]


def _usual_height(components: list[Component]) -> float:
    tallest = max(component.height for component in components)
    return median(component.height for component in components if component.height > _SHORT * tallest)


def _is_hairline(component: Component) -> bool:
    return component.width < _HAIR * component.height


def _belongs(part: Component, digit: Component, usual: float) -> bool:
    """Say whether a component is a part of a digit: above, below or inside of it, and close."""
    across = min(part.right, digit.right) - max(part.left, digit.left)
    apart = max(part.top, digit.top) - min(part.bottom, digit.bottom)
    height = max(part.bottom, digit.bottom) - min(part.top, digit.top)
    return across > _OVERLAP * min(part.width, digit.width) and apart < 0.25 * usual and height < 1.4 * usual


def _lines(pieces: list[Component]) -> list[list[Component]]:
    """Put pieces into lines from top to bottom, each from left to right."""
    lines: list[list[Component]] = []
    for piece in sorted(pieces, key=lambda piece: piece.top + piece.bottom):
        middle = (piece.top + piece.bottom) / 2
        if lines and middle < max(other.bottom for other in lines[-1]) - 0.2 * piece.height:
            lines[-1].append(piece)
        else:
            lines.append([piece])
    return [sorted(line, key=lambda piece: piece.left + piece.right) for line in lines]


def _cut_apart(piece: Component, usual: float) -> list[Component]:
    height = max(piece.height, usual)
    if piece.width <= _WIDE * height:
        return [piece]
    count = max(2, round(piece.width / (_USUAL_WIDTH * height)))
    columns = piece.mask().sum(axis=0)
    share = piece.width / count
    cuts = [0]
    for n in range(1, count):
        start, end = int((n - 0.3) * share), int((n + 0.3) * share)
        cuts.append(start + int(np.argmin(columns[start:end])))
    cuts.append(piece.width)
    return [_between(piece, piece.left + a, piece.left + b) for a, b in pairwise(cuts)]


def _between(piece: Component, left: int, right: int) -> Component:
    clipped = ((row, max(start, left), min(end, right)) for row, start, end in piece.runs)
    return Component.of([run for run in clipped if run[1] < run[2]])
