"""Connected components of a mask, by runs and union-find; those that are frames or ruled lines."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Run = tuple[int, int, int]  # row, first column, column after the last

_THIN = 0.3  # maximum share of its box that a frame's lines fill
_DIGIT = 0.3  # minimum height of a digit by that of its frame
_NEAR = 0.08  # distance of skewed lines from the box's edges, by its shorter side
_HUGGING = 0.9  # share of an empty frame's pixels within that distance
_FLAT = 0.15  # maximum height of a ruled line by its width


@dataclass(frozen=True, slots=True)
class Component:
    """A component, or several merged; rows and columns end after the last pixel."""

    runs: tuple[Run, ...]
    top: int
    bottom: int
    left: int
    right: int
    area: int

    @classmethod
    def of(cls, runs: list[Run]) -> Self:
        """Build a component from its runs."""
        rows, starts, ends = zip(*runs, strict=True)
        return cls(
            runs=tuple(runs),
            top=min(rows),
            bottom=max(rows) + 1,
            left=min(starts),
            right=max(ends),
            area=sum(ends) - sum(starts),
        )

    @property
    def height(self) -> int:
        """Rows from top to bottom."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns from left to right."""
        return self.right - self.left

    def border_share(self, shape: tuple[int, ...]) -> float:
        """Return the share of the box's outline on the border of a picture of `shape`, 0 to about 1."""
        last_row, width = shape[0] - 1, shape[1]
        on_border = sum(
            (end - start) if row in {0, last_row} else (start == 0) + (end == width)
            for row, start, end in self.runs
        )
        return on_border / (2 * (self.height + self.width))

    @property
    def stroke_width(self) -> float:
        """The mean stroke width in pixels: the area of a long stroke is half its outline times its width."""
        padded = np.pad(self.mask(), 1)
        outline = np.count_nonzero(padded[1:] != padded[:-1])
        outline += np.count_nonzero(padded[:, 1:] != padded[:, :-1])
        # pi/4 corrects for slanted outlines, which are counted as stairs.
        return float(2 * self.area / (outline * np.pi / 4))

    def mask(self) -> NDArray[np.bool_]:
        """Return the mask of the component in its box; bool (height, width)."""
        mask = np.zeros((self.height, self.width), np.bool_)
        for row, start, end in self.runs:
            mask[row - self.top, start - self.left : end - self.left] = True
        return mask


def join(components: Iterable[Component]) -> Component:
    """Merge components."""
    return Component.of([run for component in components for run in component.runs])


def gap(one: Component, other: Component) -> int:
    """Return the distance of two components' boxes in pixels, across or down, whichever is larger."""
    across = max(one.left, other.left) - min(one.right, other.right)
    down = max(one.top, other.top) - min(one.bottom, other.bottom)
    return max(across, down, 0)


def find_components(mask: NDArray[np.bool_]) -> list[Component]:
    """Find the 8-connected components of `mask` (height, width), the largest first."""
    runs: list[Run] = []
    parents: list[int] = []
    above: list[int] = []
    for row, line in enumerate(mask):
        edges = np.flatnonzero(np.diff(line, prepend=False, append=False)).tolist()
        here = []
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            index = len(runs)
            runs.append((row, start, end))
            parents.append(index)
            here.append(index)
            for other in above:
                if runs[other][1] <= end and start <= runs[other][2]:  # runs that touch, corners included
                    parents[_root(parents, other)] = _root(parents, index)
        above = here
    groups: dict[int, list[Run]] = {}
    for index, run in enumerate(runs):
        groups.setdefault(_root(parents, index), []).append(run)
    return sorted(map(Component.of, groups.values()), key=lambda component: -component.area)


def _root(parents: list[int], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index


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
