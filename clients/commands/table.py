"""Rows for a person (aligned) or a program (tabs), printed as they come."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """Name a column; `width` is in characters, longer cells push the rest of their row aside."""

    name: str
    width: int
    right: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Format rows under fixed columns; with `tabs` the cells are separated by one tab."""

    columns: Sequence[Column]
    tabs: bool = False

    def head(self) -> str:
        """Format the line of column names."""
        return self.row([column.name for column in self.columns])

    def row(self, cells: Sequence[str]) -> str:
        """Format one line."""
        if self.tabs:
            return "\t".join(cells) + "\n"
        padded = [
            cell.rjust(column.width) if column.right else cell.ljust(column.width)
            for column, cell in zip(self.columns, cells, strict=True)
        ]
        return "  ".join(padded).rstrip() + "\n"
