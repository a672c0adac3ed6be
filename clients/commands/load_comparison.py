"""Two runs side by side."""

import json
from pathlib import Path
from typing import Any

from hdrh.histogram import HdrHistogram

from clients.commands.load_report import save_text
from clients.commands.table import Column, Table
from clients.errors import InputError
from clients.load.plot import latency_plot

_TABLE = Table(
    [Column("", 10), *(Column(name, 14, right=True) for name in ("before", "after", "after/before"))]
)


def compare_results(before: Path, after: Path, plot: Path | None) -> str:
    """Set two results that `digit-client load --json` wrote side by side; draw both into `plot`.

    Raises InputError where a file is no such result.
    """
    one, two = _read(before), _read(after)
    rows = [("calls/s", one["calls_per_second"], two["calls_per_second"])]
    rows += [("images/s", one["images_per_second"], two["images_per_second"])]
    rows += [(f"{name} ms", value, two["latency_ms"][name]) for name, value in one["latency_ms"].items()]
    rows += [("failed", sum(one["failed"].values()), sum(two["failed"].values()))]
    if plot:
        named = ((before, one), (after, two))
        runs = [(str(path), HdrHistogram.decode(result["histogram"])) for path, result in named]
        save_text(plot, latency_plot("Latency, before and after", runs))
    return _TABLE.head() + "".join(_row(*row) for row in rows)


def _row(name: str, before: float, after: float) -> str:
    ratio = f"{after / before:.2f}" if before else "-"
    return _TABLE.row([name, f"{before:,.2f}", f"{after:,.2f}", ratio])


def _read(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        data["latency_ms"], data["histogram"], data["calls_per_second"]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not a result that `digit-client load --json` wrote") from None
    return data
