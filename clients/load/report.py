"""Results of runs: printed, and as files."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hdrh.histogram import HdrHistogram

from clients.commands.output import print_rows
from clients.errors import InputError
from clients.load.latency import Tally
from clients.load.run import PERCENTILES, Result

_COLUMNS = ("calls/s", "images/s", "p50 ms", "p99 ms", "queue p50", "compute p50", "failed")
SWEEP = ("in flight", *_COLUMNS)
TRIALS = ("rate", *_COLUMNS, "verdict")
_MORE = "use more --processes, or take these numbers for a lower bound"


def print_result(result: Result) -> None:
    """Print a run."""
    workload, tally = result.workload, result.tally
    latencies = "  ".join(f"p{p:g} {tally.latency_ms(p):.2f}" for p in PERCENTILES)
    rates = f"{result.calls_per_second:,.1f} calls/s, {result.images_per_second:,.1f} images/s"
    lines = [
        f"{workload.in_words()}, {workload.seconds:g} s ({workload.warmup_seconds:g} s warm-up not counted)",
        "",
        f"answered    {tally.ok:,} calls, {rates}",
        "failed      " + (", ".join(f"{n:,} {reason}" for reason, n in tally.failed.most_common()) or "none"),
        f"latency ms  {latencies}  max {tally.latency.get_max_value() / 1e3:.2f}",
    ]
    if (median := tally.server_ms(50)) and (tail := tally.server_ms(99)):
        lines.append(
            f"server ms   queue p50 {median[0]:.2f}  p99 {tail[0]:.2f}; "
            f"compute p50 {median[1]:.2f}  p99 {tail[1]:.2f}"
        )
    if workload.rate is not None:
        lines.append(f"sent late   p99 {tally.late_ms(99):.2f} ms (counted in the latency)")
    if result.limit:
        lines += ["", f"The generator is the limit: {result.limit}; {_MORE}."]
    sys.stdout.write("\n".join(lines) + "\n")


def live(tally: Tally) -> None:
    """Show the sum so far on one line of a terminal."""
    failed = f"  {tally.failed.total():,} failed" if tally.failed else ""
    times = f"p50 {tally.latency_ms(50):.2f} ms  p99 {tally.latency_ms(99):.2f} ms"
    sys.stderr.write(f"\r\x1b[K{tally.ok:,} calls  {times}{failed}")
    sys.stderr.flush()


def print_line(cells: Sequence[str], names: Sequence[str]) -> None:
    """Print a row below `names`."""
    row = "  ".join(f"{cell:>{max(8, len(name))}}" for cell, name in zip(cells, names, strict=True))
    sys.stdout.write(row + "\n")
    sys.stdout.flush()


def row(load: float, result: Result, *verdict: str) -> tuple[str, ...]:
    """Return a row of SWEEP, or with a verdict of TRIALS; `load` is what it was run with."""
    tally = result.tally
    queue, compute = tally.server_ms(50) or (None, None)
    times = [tally.latency_ms(50), tally.latency_ms(99), queue, compute]
    return (
        f"{load:,.0f}",
        f"{result.calls_per_second:,.0f}",
        f"{result.images_per_second:,.0f}",
        *("-" if time is None else f"{time:.2f}" for time in times),
        f"{tally.failed.total():,}",
        *verdict,
    )


def print_limits(results: Sequence[Result]) -> None:
    """Print a line if the generator limited the sweep."""
    if limited := [result for result in results if result.limit]:
        first = limited[0].workload.in_flight
        sys.stdout.write(
            f"\nThe generator is the limit from {first} in flight on: {limited[0].limit}; {_MORE}.\n"
        )


def save(path: Path, record: Any) -> None:
    """Write a result as JSON; raises InputError."""
    try:
        path.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def compare(before: Path, after: Path) -> list[tuple[str, HdrHistogram]]:
    """Print two results of `--json` side by side, with a warning if their workloads differ.

    Returns both latency histograms with the files' names. Raises InputError if a file is no such result.
    """
    one, two = _read(before), _read(after)
    rows = [("calls/s", one["calls_per_second"], two["calls_per_second"])]
    rows += [("images/s", one["images_per_second"], two["images_per_second"])]
    rows += [(f"{name} ms", value, two["latency_ms"][name]) for name, value in one["latency_ms"].items()]
    rows += [("failed", sum(one["failed"].values()), sum(two["failed"].values()))]
    names = ("", "before", "after", "after/before")
    print_rows(
        names,
        ((name, f"{a:,.2f}", f"{b:,.2f}", f"{b / a:.2f}" if a else "-") for name, a, b in rows),
        right=names[1:],
    )
    differ = [
        f"{name} {value} and {two['workload'].get(name)}"
        for name, value in one["workload"].items()
        if name not in {"address", "seed"} and value != two["workload"].get(name)
    ]
    if differ:
        sys.stderr.write(f"digit-client: warning: different workloads: {', '.join(differ)}\n")
    return [(str(path), HdrHistogram.decode(run["histogram"])) for path, run in ((before, one), (after, two))]


def _read(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        data["latency_ms"], data["histogram"], data["calls_per_second"], data["workload"]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not a result of `digit-client load --json`") from None
    return data
