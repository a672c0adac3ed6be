"""What forms print around digits: boxes, combs of boxes, ruled lines."""

from collections.abc import Sequence

from clients.blobs import Blob

_THIN = 0.3  # of its box that a frame's lines fill at most
_DIGIT = 0.3  # of a frame's height that a digit in it has at least
_NEAR = 0.08  # of a box's shorter side: how far lines a bit askew stray from its edges
_HUGGING = 0.9  # of an empty frame's pixels lie so near
_FLAT = 0.15  # of its width that a ruled line's height is at most


def is_frame(blob: Blob, blobs: Sequence[Blob]) -> bool:
    """Say whether a blob is a frame around digits, or an empty one, or a long flat line."""
    if blob.height < _FLAT * blob.width and any(other.height > 2 * blob.height for other in blobs):
        return True
    if blob.area > _THIN * blob.height * blob.width:
        return False
    return any(_holds(blob, other) for other in blobs) or _hugs_its_box(blob)


def _holds(frame: Blob, digit: Blob) -> bool:
    return (
        digit is not frame
        and digit.height > _DIGIT * frame.height
        and frame.top < digit.top
        and digit.bottom < frame.bottom
        and frame.left < digit.left
        and digit.right < frame.right
    )


def _hugs_its_box(blob: Blob) -> bool:
    near = _NEAR * min(blob.height, blob.width)
    left, right = blob.left + near, blob.right - near
    hugging = 0.0
    for row, start, end in blob.runs:
        if row < blob.top + near or row >= blob.bottom - near:
            hugging += end - start
        else:
            hugging += max(0, min(end, left) - start) + max(0, end - max(start, right))
    return hugging > _HUGGING * blob.area
