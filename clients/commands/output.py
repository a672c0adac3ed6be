"""Output of commands: tables, intervals, progress bars, 28x28 images."""

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
_WORTH_A_BAR = 2000  # minimum number of images for a progress bar
_HALF = 128
_Z = 1.959964  # two-sided 95 %


def print_rows(
    names: Sequence[str], rows: Iterable[Sequence[str]], *, tabs: bool = False, right: Sequence[str] = ()
) -> None:
    """Print rows below `names`, in aligned columns (those in `right` right-aligned) or separated by tabs."""
    if tabs:
        sys.stdout.writelines("\t".join(row) + "\n" for row in (names, *rows))
        return
    # Imported here, since rich takes 40 ms.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(width=None if sys.stdout.isatty() else 500, highlight=False).print(table)


def interval(part: int, whole: int) -> tuple[float, float]:
    """Return Wilson's 95 % score interval of a proportion, 0-1."""
    share = part / whole
    middle = (share + _Z**2 / (2 * whole)) / (1 + _Z**2 / whole)
    half = _Z * math.sqrt(share * (1 - share) / whole + _Z**2 / (4 * whole**2)) / (1 + _Z**2 / whole)
    return max(0.0, middle - half), min(1.0, middle + half)


def watched(things: Iterable[T], total: int | None, *, printing: bool = False) -> Iterator[T]:
    """Yield `things`, with a progress bar on stderr if that is a terminal.

    `printing` says that each is printed to standard output; no bar then, if that is a terminal too.
    """
    seen = printing and sys.stdout.isatty()
    if seen or not sys.stderr.isatty() or (total is not None and total < _WORTH_A_BAR):
        yield from things
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("images"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(things, total=total)


def draw(image: NDArray[np.uint8], *, colour: bool) -> list[str]:
    """Draw `image`, 784 values, as 14 lines of 28 columns; with colour codes if `colour`."""
    rows = image.reshape(14, 2, 28)
    if not colour:
        inked = rows >= _HALF
        return ["".join(" ▀▄█"[cell] for cell in line) for line in (inked[:, 0] + 2 * inked[:, 1]).tolist()]
    # Greys of the 256-colour palette: 232 is nearly black, 255 nearly white.
    shades = (232 + rows.astype(int) * 23 // 255).tolist()
    return [
        "".join(f"\x1b[38;5;{a};48;5;{b}m▀" for a, b in zip(above, below, strict=True)) + "\x1b[0m"
        for above, below in shades
    ]


def beside(left: Sequence[str], right: Sequence[str], gap: str = "   ") -> list[str]:
    """Join `right` to the middle lines of `left`, which are equally wide."""
    top = max(0, (len(left) - len(right)) // 2)
    padded = [""] * top + list(right) + [""] * (len(left) - top - len(right))
    return [f"{a}{gap}{b}".rstrip() for a, b in zip(left, padded, strict=True)]
