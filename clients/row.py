"""Several digits in one picture: a zip code, a row of a form, a page of them."""

from itertools import pairwise
from statistics import median

import numpy as np
from numpy.typing import NDArray

from clients.blobs import Blob, join
from clients.ink import find_ink
from clients.photo import FoundDigit, framed, reduced

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
    ink = find_ink(working, name)
    blobs = [blob for blob in ink.blobs if blob.border_share(working.shape) < _FRAME] or [ink.blobs[0]]
    usual = _usual_height([blob for blob in blobs if not _is_hairline(blob)] or blobs)
    # Between the boxes of a form; an upright 1 is as thin, but no taller than its neighbours.
    blobs = [blob for blob in blobs if not (_is_hairline(blob) and blob.height > _DIVIDER * usual)]
    pieces: list[Blob] = []
    for blob in sorted(blobs, key=lambda blob: -blob.height):
        home = next((n for n, piece in enumerate(pieces) if _belongs(blob, piece, usual)), None)
        if home is not None:
            pieces[home] = join([pieces[home], blob])
        elif blob.height > _SHORT * usual:
            pieces.append(blob)
    digits = [digit for line in _lines(pieces) for piece in line for digit in _cut_apart(piece, usual)]
    return [framed(ink, digit, scale) for digit in digits]


def _usual_height(blobs: list[Blob]) -> float:
    tallest = max(blob.height for blob in blobs)
    return median(blob.height for blob in blobs if blob.height > _SHORT * tallest)


def _is_hairline(blob: Blob) -> bool:
    return blob.width < _HAIR * blob.height


def _belongs(part: Blob, digit: Blob, usual: float) -> bool:
    """Say whether a blob is a part of a digit: above, below or inside of it, and close."""
    across = min(part.right, digit.right) - max(part.left, digit.left)
    apart = max(part.top, digit.top) - min(part.bottom, digit.bottom)
    height = max(part.bottom, digit.bottom) - min(part.top, digit.top)
    return across > _OVERLAP * min(part.width, digit.width) and apart < 0.25 * usual and height < 1.4 * usual


def _lines(pieces: list[Blob]) -> list[list[Blob]]:
    """Put pieces into lines from top to bottom, each from left to right."""
    lines: list[list[Blob]] = []
    for piece in sorted(pieces, key=lambda piece: piece.top + piece.bottom):
        middle = (piece.top + piece.bottom) / 2
        if lines and middle < max(other.bottom for other in lines[-1]) - 0.2 * piece.height:
            lines[-1].append(piece)
        else:
            lines.append([piece])
    return [sorted(line, key=lambda piece: piece.left + piece.right) for line in lines]


def _cut_apart(piece: Blob, usual: float) -> list[Blob]:
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


def _between(piece: Blob, left: int, right: int) -> Blob:
    clipped = ((row, max(start, left), min(end, right)) for row, start, end in piece.runs)
    return Blob.of([run for run in clipped if run[1] < run[2]])
