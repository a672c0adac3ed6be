"""`digit-client load`: how fast is a server, honestly measured."""

import csv
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter, validators
from hdrh.histogram import HdrHistogram

from clients.commands.server_options import ServerOptions
from clients.commands.table import Column, Table
from clients.errors import InputError
from clients.load.capacity import Trial, find_capacity
from clients.load.plan import Arrivals, Plan
from clients.load.plot import latency_plot
from clients.load.record import Tally
from clients.load.run import PERCENTILES, Result, Second, run

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
    plan = options.plan(server)
    if options.find_capacity:
        return _capacity(plan, options)
    live = _Live() if sys.stderr.isatty() else None
    result = run(plan, live.show if live else None)
    if live:
        live.clear()
    sys.stdout.write(report(result))
    _write(result, options)
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
    one, two = _read(before), _read(after)
    rows = [("calls/s", one["calls_per_second"], two["calls_per_second"])]
    rows += [("images/s", one["images_per_second"], two["images_per_second"])]
    rows += [(f"{name} ms", value, two["latency_ms"][name]) for name, value in one["latency_ms"].items()]
    rows += [("failed", sum(one["failed"].values()), sum(two["failed"].values()))]
    table = Table(
        [Column("", 10), *(Column(name, 14, right=True) for name in ("before", "after", "after/before"))]
    )
    sys.stdout.write(table.head())
    for name, first, second in rows:
        ratio = f"{second / first:.2f}" if first else "-"
        sys.stdout.write(table.row([name, f"{first:,.2f}", f"{second:,.2f}", ratio]))
    if plot:
        runs = [
            (str(path), HdrHistogram.decode(data["histogram"]))
            for path, data in ((before, one), (after, two))
        ]
        plot.write_text(latency_plot("Latency, before and after", runs))
    return 0


def report(result: Result) -> str:
    """Tell a person what a run saw."""
    plan, tally = result.plan, result.tally
    images = "1 image" if plan.images_per_call == 1 else f"{plan.images_per_call} images"
    length = f"{plan.seconds:g} s ({plan.warmup_seconds:g} s of warm-up not counted)"
    rates = f"{result.calls_per_second:,.1f} calls/s, {result.images_per_second:,.1f} images/s"
    latencies = "  ".join(f"p{p:g} {tally.latency_ms(p):.2f}" for p in PERCENTILES)
    request = "message on a stream" if plan.stream else "call"
    lines = [
        f"{_load_in_words(plan)}, {images} a {request}, {length}",
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


def _load_in_words(plan: Plan) -> str:
    if plan.rate is None:
        return f"closed loop, {plan.in_flight} calls in flight"
    rate = f"{plan.rate:g}" if plan.end_rate is None else f"{plan.rate:g} to {plan.end_rate:g}"
    return f"open loop, {rate} calls/s, {plan.arrivals}"


def _capacity(plan: Plan, options: LoadOptions) -> int:
    columns = [Column("calls/s", 9, right=True), Column("p50 ms", 8, right=True), Column("p99 ms", 8, right=True),
               Column("verdict", 0)]  # fmt: skip
    table = Table(columns)
    sys.stdout.write(table.head())

    def show(trial: Trial) -> None:
        tally = trial.result.tally
        cells = [
            f"{trial.rate:,.0f}",
            f"{tally.latency_ms(50):.2f}",
            f"{tally.latency_ms(99):.2f}",
            trial.verdict,
        ]
        sys.stdout.write(table.row(cells))
        sys.stdout.flush()

    best = find_capacity(plan, options.p99_ms, run, show)
    if best is None:
        sys.stdout.write(f"\nNo rate keeps p99 within {options.p99_ms:g} ms.\n")
        return 1
    images = best.rate * plan.images_per_call
    sys.stdout.write(
        f"\ncapacity    {best.rate:,.0f} calls/s ({images:,.0f} images/s) with p99 within {options.p99_ms:g} ms\n"
    )
    _write(best.result, options)
    return 0


class _Live:
    """One line on the terminal that tells how it goes."""

    def show(self, second: Second, tally: Tally) -> None:
        failed = f"  {tally.failed.total():,} failed" if tally.failed else ""
        sys.stderr.write(
            f"\r\x1b[K{second.second:>4} s  {second.calls:,} calls/s  p50 {second.p50_ms:.2f} ms  "
            f"p99 {second.p99_ms:.2f} ms{failed}"
        )
        sys.stderr.flush()

    def clear(self) -> None:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def _write(result: Result, options: LoadOptions) -> None:
    if options.json:
        options.json.write_text(json.dumps(result.record(), indent=1) + "\n")
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["second", "calls", "failed", "p50_ms", "p99_ms"])
            writer.writeheader()
            writer.writerows(asdict(second) for second in result.timeline)
    if options.plot:
        options.plot.write_text(
            latency_plot(_load_in_words(result.plan), [("latency", result.tally.latency)])
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        data["latency_ms"], data["histogram"], data["calls_per_second"]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not a result that `digit-client load --json` wrote") from None
    return data
