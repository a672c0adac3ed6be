"""`digit-client load`: how fast is a server, honestly measured."""

# What measures needs the `load` extra and is imported when a command runs: help and shell completion,
# which look at every command, work without.
# ruff: noqa: PLC0415

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from clients.commands.server_options import ServerOptions
from clients.load.plan import Arrivals, Plan

_POSITIVE = Parameter(validator=validators.Number(gt=0))
_COUNT = Parameter(validator=validators.Number(gte=1))

app = App(name="load", help="Put load on a server: how fast is it, honestly measured?")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """Hold the load, and where its result goes."""

    rate: Annotated[float | None, _POSITIVE] = None
    """Open loop: this many calls a second, whatever the server does. Without it, a closed loop."""
    end_rate: Annotated[float | None, _POSITIVE] = None
    """Let the rate grow or fall to this in a straight line."""
    arrivals: Arrivals = "poisson"
    """How calls of an open loop are spaced: as strangers come, or evenly."""
    in_flight: Annotated[int, _COUNT] = 64
    """Closed loop: how many calls travel at any time."""
    images_per_call: Annotated[int, _COUNT] = 1
    """How many images each call carries."""
    seconds: Annotated[float, _POSITIVE] = 10.0
    """How long to run."""
    warmup_seconds: Annotated[float, Parameter(validator=validators.Number(gte=0))] = 1.0
    """Do not count calls that were due in the first seconds."""
    connections: Annotated[int, _COUNT] = 1
    """How many connections to share the calls out to."""
    processes: Annotated[int, _COUNT] = 1
    """How many processes to make the load with."""
    stream: bool = False
    """Put all requests of a connection on one bidirectional stream."""
    model: str = ""
    """Ask this model; by default the server chooses."""
    find_capacity: bool = False
    """Search for the highest rate that keeps p99 within --p99-ms without a failure."""
    p99_ms: Annotated[float, _POSITIVE] = 50.0
    """What p99 must stay within, for --find-capacity."""
    json: Path | None = None
    """Write the result here, for `digit-client load compare` and for programs."""
    csv: Path | None = None
    """Write what each second looked like here."""
    plot: Path | None = None
    """Draw latency by percentile here, as SVG."""

    def plan(self, server: ServerOptions) -> Plan:
        """Build the plan that these options describe."""
        # A retry would hide a failure, and its latency would be the client's doing.
        connection = server.connection(attempts=1)
        return Plan(
            connection=connection,
            images_per_call=self.images_per_call,
            rate=self.rate,
            end_rate=self.end_rate,
            arrivals=self.arrivals,
            in_flight=self.in_flight,
            seconds=self.seconds,
            warmup_seconds=self.warmup_seconds,
            connections=self.connections,
            processes=self.processes,
            stream=self.stream,
            model=self.model,
        )


_LOAD, _SERVER = LoadOptions(), ServerOptions()


@app.default
def load(*, options: LoadOptions = _LOAD, server: ServerOptions = _SERVER) -> int:
    """Put load on a server and tell how it bore it; exit code 1 where calls failed.

    In an open loop latency counts from when a call was due, not from when it could be sent: a server
    that stalls is charged for all who would have waited (no coordinated omission).
    """
    from clients.commands import load_report as report
    from clients.load.run import run

    plan = options.plan(server)
    if options.find_capacity:
        return _capacity(plan, options)
    live = report.LiveLine() if sys.stderr.isatty() else None
    result = run(plan, live.show if live else None)
    if live:
        live.clear()
    sys.stdout.write(report.in_full(result))
    report.save(result, json_file=options.json, csv_file=options.csv, plot_file=options.plot)
    return 1 if result.tally.failed else 0


@app.command
def compare(before: Path, after: Path, *, plot: Path | None = None) -> int:
    """Set two results of --json side by side.

    Parameters
    ----------
    before
        Result of the first run.
    after
        Result of the second run.
    plot
        Draw both into this SVG.

    """
    from clients.commands.load_comparison import compare_results

    sys.stdout.write(compare_results(before, after, plot))
    return 0


def _capacity(plan: Plan, options: LoadOptions) -> int:
    from clients.commands import load_report as report
    from clients.load.capacity import Trial, find_capacity
    from clients.load.run import run

    sys.stdout.write(report.TRIALS.head())

    def show(trial: Trial) -> None:
        sys.stdout.write(report.of_trial(trial))
        sys.stdout.flush()

    best = find_capacity(plan, options.p99_ms, run, show)
    if best is None:
        sys.stdout.write(f"\nNo rate keeps p99 within {options.p99_ms:g} ms.\n")
        return 1
    rates = f"{best.rate:,.0f} calls/s ({best.rate * plan.images_per_call:,.0f} images/s)"
    sys.stdout.write(f"\ncapacity    {rates} with p99 within {options.p99_ms:g} ms\n")
    report.save(best.result, json_file=options.json, csv_file=options.csv, plot_file=options.plot)
    return 0
