"""Printed frames around digits: boxes, combs of boxes, ruled lines."""

from collections.abc import Sequence

from clients.pictures.components import Component

_THIN = 0.3  # of its box that a frame's lines fill at most
_DIGIT = 0.3  # of a frame's height that a digit in it has at least
_NEAR = 0.08  # of a box's shorter side: how far lines a bit askew stray from its edges
_HUGGING = 0.9  # of an empty frame's pixels lie so near
_FLAT = 0.15  # of its width that a ruled line's height is at most


def is_frame(component: Component, components: Sequence[Component]) -> bool:
    """Say whether a component is a frame around digits, or an empty one, or a long flat line."""
    if component.height < _FLAT * component.width and any(
        other.height > 2 * component.height for other in components
    ):
        return True
    if component.area > _THIN * component.height * component.width:
        return False
    return any(_holds(component, other) for other in components) or _hugs_its_box(component)


def _holds(frame: Component, digit: Component) -> bool:
    return (
        digit is not frame
        and digit.height > _DIGIT * frame.height
        and frame.top < digit.top
        and digit.bottom < frame.bottom
        and frame.left < digit.left
        and digit.right < frame.right
    )


def _hugs_its_box(component: Component) -> bool:
    near = _NEAR * min(component.height, component.width)
    left, right = component.left + near, component.right - near
    hugging = 0.0
    for row, start, end in component.runs:
        if row < component.top + near or row >= component.bottom - near:
            hugging += end - start
        else:
            hugging += max(0, min(end, left) - start) + max(0, end - max(start, right))
    return hugging > _HUGGING * component.area
