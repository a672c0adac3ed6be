"""Results of benchmarks: tables on the screen, JSON in build/bench."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.table import Table

FOLDER = Path("build/bench")
Count = Annotated[int, Parameter(validator=Number(gte=1))]
Seconds = Annotated[float, Parameter(validator=Number(gt=0))]

_console = Console()


def progress(text: str) -> None:
    """Print what is measured now."""
    _console.print(text, style="dim")


def show(title: str, headings: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table of names, in the first column, and numbers."""
    table = Table(title=title)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    _console.print(table)


def write(name: str, content: dict[str, Any]) -> None:
    """Write a JSON file."""
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
    _console.print(f"written to {path}")
