"""The status page, `/` on the metrics port: serving versions, load and events.

It is rendered from the metrics, with one process or several. It has no scripts, external resources or
parameters, and shows nothing that `/metrics` and the log do not have.
"""

import base64
import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from server.observability import table
from server.observability.history import INTERVAL_SECONDS, MOMENTS, History
from server.observability.logs import RecentEvents
from server.observability.series import Snapshot

FOLDER = Path(__file__).parent
REFRESH_SECONDS = 5
HEIGHT = 44  # of a sparkline, in pixels; its width is that of the full history
LEAST_WIDTH = 36
MAX_DIFFERENCES = 4
STYLE = (FOLDER / "status_page.css").read_text()
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    (
        "Content-Security-Policy",
        f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)


class StatusPage:
    """The page and its history."""

    def __init__(self, read: Callable[[], Snapshot], events: RecentEvents) -> None:
        self._read = read
        self._events = events
        self._started = time.time()
        self.history = History(read)
        environment = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)
        environment.filters |= {"when": _when, "duration": _duration}
        self._template = environment.get_template("status_page.html.j2")

    def render(self, *, ready: bool) -> bytes:
        """Return the page as HTML."""
        snapshot = self._read()
        return self._template.render(
            style=STYLE,
            refresh_seconds=REFRESH_SECONDS,
            height=HEIGHT,
            ready=ready,
            now=time.time(),
            started=self._started,
            kept=MOMENTS * INTERVAL_SECONDS,
            release=", ".join(labels["version"] for labels, _ in snapshot.items(table.BUILD_INFO)),
            workers=snapshot.total(table.WORKERS),
            restarts=snapshot.total(table.RESTARTS),
            queued=snapshot.total(table.QUEUE_IMAGES),
            problems=snapshot.total(table.PROBLEMS),
            cards=[_card(*figure) for figure in self.history.figures().items()],
            ends=self.history.ends().most_common(),
            versions=list(_versions(snapshot)),
            shadows=list(_shadows(snapshot)),
            events=list(self._events)[::-1],
        ).encode()


def _card(name: str, values: Sequence[float | None]) -> dict[str, Any]:
    peak = max((value for value in values if value is not None), default=0.0)
    return {
        "name": name,
        "latest": _figure(values[-1] if values else None),
        "peak": _figure(peak),
        "width": max(len(values), LEAST_WIDTH),
        "path": _line(values, peak),
    }


def _line(values: Sequence[float | None], peak: float) -> str:
    """Return an SVG path of the values, the newest at the right, with gaps for None."""
    left = max(LEAST_WIDTH - len(values), 0)
    points = [
        (left + x, None if value is None else HEIGHT - 2 - (HEIGHT - 4) * value / (peak or 1))
        for x, value in enumerate(values)
    ]
    runs = (list(run) for there, run in groupby(points, lambda point: point[1] is not None) if there)
    # A single point is drawn as a line of one step.
    return "".join(
        "M" + "L".join(f"{x} {y:.1f}" for x, y in run) + ("h1" if len(run) == 1 else "") for run in runs
    )


def _versions(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    infos = (labels for labels, _ in snapshot.items(table.MODEL_INFO))
    for info in sorted(infos, key=lambda info: (info["model"], -int(info["version"]))):
        version = {"model": info["model"], "version": info["version"]}
        shares = {
            labels["label"]: f" {share:.0%}"
            for labels, (share,) in snapshot.items(table.LABEL_SHARE, **version)
        }
        names = sorted(labels["label"] for labels, _ in snapshot.items(table.LABEL_INFO, **version))
        yield version | {
            "labels": ", ".join(f"{name}{shares.get(name, '')}" for name in names),
            "since": snapshot.total(table.SERVING_SINCE, **version),
            "images": snapshot.total(table.PREDICTIONS, **version),
            "failed": snapshot.total(table.FAILED, **version),
            "accuracy": f"{float(info['accuracy']):.2%}",
            "runs_on": f"{info['provider']}, {info['precision']}",
            "sha256": info["sha256"][:12],
        }


def _shadows(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    """Yield each version with its shadow candidate: agreement, differences, both latencies."""
    pairs: dict[tuple[str, str, str], Counter[tuple[str, str]]] = defaultdict(Counter)
    for labels, (images,) in snapshot.items(table.SHADOW_IMAGES):
        digits = labels["digit"], labels["shadow_digit"]
        pairs[labels["model"], labels["version"], labels["shadow_version"]][digits] += int(images)
    for (model, version, candidate), confusion in sorted(pairs.items()):
        images = confusion.total()
        agreed = sum(count for (digit, other), count in confusion.items() if digit == other)
        other_digits = [(pair, count) for pair, count in confusion.most_common() if pair[0] != pair[1]]
        stable = {"model": model, "version": version}
        seconds = (
            snapshot.total(table.COMPUTE_DURATION, **stable),
            snapshot.total(table.SHADOW_DURATION, model=model, shadow_version=candidate),
        )
        yield stable | {
            "candidate": candidate,
            "images": images,
            "agreement": agreed / images,
            "differences": ", ".join(f"{a} is {b}: {n:,}" for (a, b), n in other_digits[:MAX_DIFFERENCES]),
            "image_us": seconds[0] / snapshot.total(table.PREDICTIONS, **stable) * 1e6,
            "candidate_image_us": seconds[1] / images * 1e6,
        }


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.{0 if value >= 100 or value == 0 else 1 if value >= 10 else 2}f}"  # noqa: PLR2004 - three digits


def _when(at: float) -> str:
    today = time.gmtime(at)[:3] == time.gmtime()[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M", time.gmtime(at))


def _duration(seconds: float) -> str:
    minutes, hours, days = (int(seconds // unit) for unit in (60, 3600, 86400))
    if minutes < 1:
        return f"{seconds:.0f} s"
    if hours < 1:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if days < 1 else f"{days} d {hours % 24} h"
