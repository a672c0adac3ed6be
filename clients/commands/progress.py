"""A bar on the terminal for work that takes a while; silent where nobody watches."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_WORTH_A_BAR = 2000  # images; fewer are answered before a person looks


def watched(things: Iterable[T], total: int | None, *, printing: bool = False) -> Iterator[T]:
    """Pass `things` on, counting them on stderr where that is a terminal.

    `printing` says that each is printed as it comes: on the same terminal that is progress enough.
    """
    seen = printing and sys.stdout.isatty()
    if seen or not sys.stderr.isatty() or (total is not None and total < _WORTH_A_BAR):
        yield from things
        return
    # 40 ms that short commands need not wait for.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("images"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(things, total=total)
