"""Plots of latency. Only this module needs Matplotlib, the `plot` extra."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hdrh.histogram import HdrHistogram
from matplotlib.figure import Figure

from clients.errors import InputError
from clients.load.run import Result

_TICKS = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999)


def plot_percentiles(path: Path, title: str, runs: Sequence[tuple[str, HdrHistogram]]) -> None:
    """Plot the latency of each named run over the percentile, on a scale stretched towards 100 %."""
    figure, axes = _figure(title)
    most = max(histogram.get_total_count() for _, histogram in runs)
    nines = np.linspace(0, min(5.0, np.log10(max(10, most))), 200)
    for name, histogram in runs:
        latencies = [histogram.get_value_at_percentile(100 * (1 - 10**-nine)) / 1e3 for nine in nines]
        axes.plot(nines, latencies, label=name)
    shown = [tick for tick in _TICKS if -np.log10(1 - tick / 100) <= nines[-1]]
    axes.set_xticks([-np.log10(1 - tick / 100) for tick in shown], [f"{tick:g} %" for tick in shown])
    axes.set(xlabel="percentile of calls", ylabel="latency (ms)", ylim=(0, None))
    if len(runs) > 1:
        axes.legend()
    _save(figure, path)


def plot_sweep(path: Path, title: str, results: Sequence[Result]) -> None:
    """Plot latency over throughput, a point for each number of calls in flight."""
    figure, axes = _figure(title)
    rates = [result.calls_per_second for result in results]
    for percentile in (50.0, 99.0):
        latencies = [result.tally.latency_ms(percentile) for result in results]
        axes.plot(rates, latencies, marker="o", label=f"p{percentile:g}")
    for result, rate in zip(results, rates, strict=True):
        place = (rate, result.tally.latency_ms(99))
        axes.annotate(str(result.workload.in_flight), place, (0, 6), textcoords="offset points", ha="center")
    axes.set(xlabel="throughput (calls/s); numbers: calls in flight", ylabel="latency (ms)")
    axes.set_xlim(0, max(rates) * 1.1)
    axes.set_ylim(0, None)
    axes.legend()
    _save(figure, path)


def _figure(title: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(8, 4.8), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(color="#e2e8f0")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    try:
        figure.savefig(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    except ValueError as error:  # unknown file format
        raise InputError(f"{path}: {error}") from None
