"""Detection of printed frames: boxes, combs of boxes, ruled lines."""

from collections.abc import Sequence

from clients.pictures.components import Component

_THIN = 0.3  # maximum share of its box that a frame's lines fill
_DIGIT = 0.3  # minimum height of a digit by that of its frame
_NEAR = 0.08  # distance of skewed lines from the box's edges, by its shorter side
_HUGGING = 0.9  # share of an empty frame's pixels within that distance
_FLAT = 0.15  # maximum height of a ruled line by its width


def is_frame(component: Component, components: Sequence[Component]) -> bool:
    """Tell whether a component is a frame, with or without digits, or a ruled line."""
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
