"""`digit-client load`: latency and throughput under load."""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated

from cyclopts import App, Parameter, validators

from clients.commands.options import ServerOptions
from clients.errors import InputError
from clients.load import report
from clients.load.run import Result, run
from clients.load.search import MOST_RATE, find_capacity, sweep, verdict
from clients.load.workload import Workload, WorkloadOptions

app = App(
    name="load",
    help_format="plaintext",
    help_epilogue="""Examples:
  digit-client load --rate 500 --seconds 30
  digit-client load --in-flight 1:64 --plot load.png""",
)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """The runs, and the files of the result."""

    in_flight: str = "64"
    """Closed loop: calls in flight at any time; 1:64 runs 1, 2, 4 ... 64, one after the other."""
    find_capacity: bool = False
    """Search for the highest rate that keeps p99 within --p99-ms without a failure."""
    p99_ms: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 50.0
    """Objective of --find-capacity."""
    json: Path | None = None
    """Write the result here, for `digit-client load compare` and for programs."""
    plot: Path | None = None
    """Draw latency by percentile, or over throughput for a sweep (.png, .svg, .pdf)."""

    def sweep(self) -> tuple[int, int]:
        """Parse --in-flight: the first and last number of calls."""
        first, _, last = self.in_flight.partition(":")
        try:
            bounds = int(first), int(last or first)
        except ValueError:
            bounds = (0, 0)
        if not 1 <= bounds[0] <= bounds[1]:
            raise InputError(
                f"--in-flight is {self.in_flight!r}, expected a number or FIRST:LAST such as 1:64"
            )
        return bounds


_WORKLOAD, _LOAD, _SERVER = WorkloadOptions(), LoadOptions(), ServerOptions()


@app.default
def load(
    *,
    run_options: WorkloadOptions = _WORKLOAD,
    options: LoadOptions = _LOAD,
    server: ServerOptions = _SERVER,
) -> int:
    """Generate load; exit code 1 if calls failed.

    In an open loop, latency counts from when a call was due rather than sent, so that a stalled server is
    charged for all delayed calls (no coordinated omission).
    """
    first, last = options.sweep()
    # No retries: they would hide failures and add delays to latencies.
    connection = server.connection(attempts=1)
    workload = Workload(connection=connection, in_flight=last, **vars(run_options))
    if options.plot:
        _plot()  # fails before the run if Matplotlib is missing
    server.client().close()
    if options.find_capacity:
        return _capacity(workload, options)
    if first < last and workload.rate is None:
        return _sweep(workload, first, options)
    watching = sys.stderr.isatty()
    result = run(workload, report.live if watching else None)
    if watching:
        sys.stderr.write("\r\x1b[K")
    report.print_result(result)
    _keep(result, options)
    return 1 if result.tally.failed else 0


@app.command(
    help_epilogue="""Examples:
  digit-client load compare before.json after.json
  digit-client load compare before.json after.json --plot both.png"""
)
def compare(
    before: Path, after: Path, /, *, plot: Annotated[Path | None, Parameter(help="Draw both here.")] = None
) -> int:
    """Print two results of --json side by side, and plot both with --plot."""
    runs = report.compare(before, after)
    if plot:
        _plot().plot_percentiles(plot, "Latency by percentile", runs)
    return 0


def _capacity(workload: Workload, options: LoadOptions) -> int:
    report.print_line(report.TRIALS, report.TRIALS)
    best, limit = None, f"the search ends at {MOST_RATE:,.0f} calls/s"
    for result in find_capacity(workload, options.p99_ms, run):
        words = verdict(result, options.p99_ms)
        report.print_line(report.row(result.workload.rate or 0, result, words), report.TRIALS)
        if words == "ok":
            best = result
        else:
            limit = result.limit
    if best:
        _keep(best, options)
    if limit:
        sys.stdout.write(f"\nThe generator is the limit: {limit}; use more --processes.\n")
        return 1
    if best is None:
        sys.stdout.write(f"\nNo rate keeps p99 within {options.p99_ms:g} ms.\n")
        return 1
    rate = best.workload.rate or 0
    rates = f"{rate:,.0f} calls/s ({rate * workload.images_per_call:,.0f} images/s)"
    sys.stdout.write(f"\ncapacity    {rates} with p99 within {options.p99_ms:g} ms\n")
    return 0


def _sweep(workload: Workload, first: int, options: LoadOptions) -> int:
    report.print_line(report.SWEEP, report.SWEEP)
    results = []
    for result in sweep(workload, first, run):
        report.print_line(report.row(result.workload.in_flight, result), report.SWEEP)
        results.append(result)
    report.print_limits(results)
    if options.json:
        report.save(options.json, [result.record() for result in results])
    if options.plot:
        images = "1 image" if workload.images_per_call == 1 else f"{workload.images_per_call} images"
        _plot().plot_sweep(options.plot, f"Closed loop, {images} a call", results)
    return 1 if any(result.tally.failed for result in results) else 0


def _plot() -> ModuleType:
    from clients.load import plot  # noqa: PLC0415 - Matplotlib is optional

    return plot


def _keep(result: Result, options: LoadOptions) -> None:
    """Write the files that were asked for."""
    if options.json:
        report.save(options.json, result.record())
    if options.plot:
        runs = [("latency", result.tally.latency)]
        _plot().plot_percentiles(options.plot, result.workload.in_words(), runs)
