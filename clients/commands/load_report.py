"""What a run saw, for people and for files."""

import csv
import io
import json
import sys
from dataclasses import asdict
from pathlib import Path

from clients.commands.table import Column, Table
from clients.errors import InputError
from clients.load.capacity import Trial
from clients.load.plan import Plan
from clients.load.plot import latency_plot
from clients.load.record import Tally
from clients.load.run import PERCENTILES, Result, Second

TRIALS = Table(
    [*(Column(name, 9, right=True) for name in ("calls/s", "p50 ms", "p99 ms")), Column("verdict", 0)]
)


def in_full(result: Result) -> str:
    """Tell a person what a run saw."""
    plan, tally = result.plan, result.tally
    images = "1 image" if plan.images_per_call == 1 else f"{plan.images_per_call} images"
    length = f"{plan.seconds:g} s ({plan.warmup_seconds:g} s of warm-up not counted)"
    rates = f"{result.calls_per_second:,.1f} calls/s, {result.images_per_second:,.1f} images/s"
    latencies = "  ".join(f"p{p:g} {tally.latency_ms(p):.2f}" for p in PERCENTILES)
    request = "message on a stream" if plan.stream else "call"
    lines = [
        f"{in_words(plan)}, {images} a {request}, {length}",
        "",
        f"answered    {tally.ok:,} calls, {rates}",
        "failed      " + (", ".join(f"{n:,} {reason}" for reason, n in tally.failed.most_common()) or "none"),
        f"latency ms  {latencies}  max {tally.latency.get_max_value() / 1e3:.2f}",
    ]
    if plan.rate is not None:
        lines.append(f"sent late   p99 {result.late_ms:.2f} ms (counted in the latency)")
    if not result.kept_up:
        lines.append("")
        lines.append(
            "The generator did not keep up: use more --processes, or take these figures for a lower bound."
        )
    return "\n".join(lines) + "\n"


def in_words(plan: Plan) -> str:
    """Name the kind of load."""
    if plan.rate is None:
        return f"closed loop, {plan.in_flight} calls in flight"
    rate = f"{plan.rate:g}" if plan.end_rate is None else f"{plan.rate:g} to {plan.end_rate:g}"
    return f"open loop, {rate} calls/s, {plan.arrivals}"


def of_trial(trial: Trial) -> str:
    """Tell a person how one rate went: a row of TRIALS."""
    tally = trial.result.tally
    times = [f"{tally.latency_ms(p):.2f}" for p in (50, 99)]
    return TRIALS.row([f"{trial.rate:,.0f}", *times, trial.verdict])


class LiveLine:
    """One line on the terminal that tells how it goes."""

    def show(self, second: Second, tally: Tally) -> None:
        """Tell of the last second."""
        failed = f"  {tally.failed.total():,} failed" if tally.failed else ""
        sys.stderr.write(
            f"\r\x1b[K{second.second:>4} s  {second.calls:,} calls/s  p50 {second.p50_ms:.2f} ms  "
            f"p99 {second.p99_ms:.2f} ms{failed}"
        )
        sys.stderr.flush()

    def clear(self) -> None:
        """Make room for the report."""
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def save(result: Result, *, json_file: Path | None, csv_file: Path | None, plot_file: Path | None) -> None:
    """Write what was asked for; raises InputError where that cannot be written."""
    if json_file:
        save_text(json_file, json.dumps(result.record(), indent=1) + "\n")
    if csv_file:
        table = io.StringIO()
        writer = csv.DictWriter(table, ["second", "calls", "failed", "p50_ms", "p99_ms"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(second) for second in result.timeline)
        save_text(csv_file, table.getvalue())
    if plot_file:
        save_text(plot_file, latency_plot(in_words(result.plan), [("latency", result.tally.latency)]))


def save_text(path: Path, text: str) -> None:
    """Write a file; raises InputError where that fails."""
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
