"""Latency by percentile as a picture: SVG, so that it needs no plotting library."""

from collections.abc import Sequence
from html import escape
from math import ceil, log10

from hdrh.histogram import HdrHistogram

_WIDTH, _HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 50, 50
_TICKS = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999)
_COLOURS = ("#2563eb", "#dc2626", "#059669", "#9333ea")
_POINTS = 200


def latency_plot(title: str, runs: Sequence[tuple[str, HdrHistogram]]) -> str:
    """Draw the latency of each named run over the percentile, which is stretched towards 100 %."""
    most = max(histogram.get_total_count() for _, histogram in runs)
    nines = min(5.0, log10(max(10, most)))
    highest = max(histogram.get_value_at_percentile(_percentile(nines)) for _, histogram in runs) / 1e3
    step = _nice(highest / 5)
    top = step * ceil(highest / step or 1)

    def x(nine: float) -> float:
        return _LEFT + nine / nines * (_WIDTH - _LEFT - _RIGHT)

    def y(ms: float) -> float:
        return _HEIGHT - _BOTTOM - ms / top * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        _text(_LEFT, 24, title, font_size=16),
        _text(_LEFT, _TOP - 8, "latency, ms", font_size=11, fill="#64748b"),
    ]
    for n in range(round(top / step) + 1):
        parts.append(_line(_LEFT, y(n * step), _WIDTH - _RIGHT, y(n * step)))
        parts.append(_text(_LEFT - 8, y(n * step) + 4, f"{n * step:g}", text_anchor="end"))
    for percentile in _TICKS:
        nine = -log10(1 - percentile / 100)
        if nine <= nines:
            parts.append(_line(x(nine), _TOP, x(nine), _HEIGHT - _BOTTOM))
            parts.append(_text(x(nine), _HEIGHT - _BOTTOM + 18, f"{percentile:g} %", text_anchor="middle"))
    parts.append(
        _text(_WIDTH / 2, _HEIGHT - 10, "calls answered within", text_anchor="middle", fill="#64748b")
    )
    for index, (name, histogram) in enumerate(runs):
        colour = _COLOURS[index % len(_COLOURS)]
        places = [n * nines / _POINTS for n in range(_POINTS + 1)]
        points = " ".join(
            f"{x(nine):.1f},{y(histogram.get_value_at_percentile(_percentile(nine)) / 1e3):.1f}"
            for nine in places
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(_LEFT + 12, _TOP + 18 + 16 * index, name, fill=colour))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="system-ui, sans-serif"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _percentile(nines: float) -> float:
    return 100 * (1 - 10**-nines)


def _nice(step: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** (ceil(log10(step)) - 1 if step > 0 else 0)
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#e2e8f0"/>'


def _text(x: float, y: float, text: str, **style: str | int) -> str:
    look = {"fill": "#0f172a", "font-size": 12} | {
        name.replace("_", "-"): value for name, value in style.items()
    }
    attributes = " ".join(f'{name}="{value}"' for name, value in look.items())
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(text)}</text>'
