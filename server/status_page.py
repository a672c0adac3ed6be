"""`/` on the metrics port: what serves and how it does, for a person with a browser and nothing else.

It is made of the metrics, so it is as true with several workers as with one. It has no script, loads
nothing, takes no parameters and shows nothing that `/metrics` and the log do not.
"""

import base64
import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import groupby

from prometheus_client import CollectorRegistry

from server.history import INTERVAL_SECONDS, MOMENTS, History, Snapshot, Span
from server.news import News

REFRESH_SECONDS = 5
HEIGHT = 44  # of a sparkline, in pixels; it is as wide as there is history, but for the first minutes
LEAST_WIDTH = 36
STYLE = """
:root{color-scheme:light dark;--ink:#1b2430;--dim:#667085;--line:#d9dee5;--card:#fff;--page:#f4f6f8;--mark:#2a6f97;--bad:#b42318}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--dim:#98a2b3;--line:#2c3542;--card:#171d26;--page:#0e131a;--mark:#6cb4dd;--bad:#ff8a7a}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:72rem;padding:1.25rem;background:var(--page);color:var(--ink);font:15px/1.45 system-ui,sans-serif}
h1{font-size:1.35rem;margin:0}h2{font-size:1rem;margin:1.75rem 0 .5rem}p{margin:.15rem 0}.dim,th,small{color:var(--dim);font-weight:400}
.state{color:var(--mark)}.bad{color:var(--bad)}
.cards{display:grid;gap:.75rem;grid-template-columns:repeat(2,1fr)}@media(min-width:48rem){.cards{grid-template-columns:repeat(3,1fr)}}
.card,.table{background:var(--card);border:1px solid var(--line);border-radius:.5rem}.card{padding:.7rem .9rem}
.card b{font-size:1.5rem;font-weight:600;font-variant-numeric:tabular-nums}
svg{display:block;width:100%;height:44px;margin-top:.3rem;border-bottom:1px solid var(--line)}
path{vector-effect:non-scaling-stroke;stroke:var(--mark);stroke-width:1.5;fill:none;stroke-linecap:round}
.table{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{padding:.4rem .9rem;text-align:left;white-space:nowrap;font-variant-numeric:tabular-nums}
tr+tr td{border-top:1px solid var(--line)}td.wide{white-space:normal;min-width:16rem;overflow-wrap:anywhere}
.number{text-align:right}
"""
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
# What is drawn.
FIGURES: tuple[tuple[str, Callable[[Span], float | None]], ...] = (
    ("calls a second", Span.calls_per_second),
    ("images a second", Span.images_per_second),
    ("images a batch", Span.batch_images),
    ("p50 latency, ms", lambda span: span.latency_ms(0.5)),
    ("p99 latency, ms", lambda span: span.latency_ms(0.99)),
    ("errors a second", Span.errors_per_second),
)


_BAD = ' class="bad"'


class _Bad(str):
    """What a cell holds that should catch the eye."""

    __slots__ = ()


class StatusPage:
    """The page, and the history that it draws."""

    def __init__(self, registry: CollectorRegistry, news: News) -> None:
        self._registry = registry
        self._news = news
        self.history = History(registry)

    def render(self, *, ready: bool) -> bytes:
        """Return the page as HTML."""
        now = Snapshot(self._registry)
        parts = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="{REFRESH_SECONDS}">',
            '<meta name="viewport" content="width=device-width,initial-scale=1"><title>digit-server</title>',
            f"<style>{STYLE}</style>",
            _head(now, ready=ready),
            '<div class="cards">',
            *(_card(name, self.history.each(figure)) for name, figure in FIGURES),
            f"</div><p><small>The last {_duration(MOMENTS * INTERVAL_SECONDS)} at most. ",
            ", ".join(f"{escape(code)} {count:,}" for code, count in self.history.ends().most_common()),
            "</small></p><h2>What serves</h2>",
            _table(("model", "version", "labels", "since", "#images", "#failed calls", "#accuracy", "runs on", "sha256"), _versions(now)),
            "<h2>What happened</h2>",
            _table(("when", "what", "details"), _events(self._news)),
        )  # fmt: skip
        return "".join(parts).encode()


def _head(now: Snapshot, *, ready: bool) -> str:
    state = '<span class="state">ready</span>' if ready else '<span class="bad">not ready</span>'
    release = ", ".join(each.labels["version"] for each in now.samples("digits_build_info"))
    started = min((each.value for each in now.samples("process_start_time_seconds")), default=time.time())
    workers, restarts = now.total("digits_workers"), now.total("digits_worker_restarts_total")
    facts = [
        f"started {_when(started)} UTC, {_duration(time.time() - started)} ago",
        f"{workers:.0f} process{'es' * (workers != 1)}" + f", {restarts:.0f} restarted" * bool(restarts),
        f"{now.total('digits_queue_images'):,.0f} images queued",
    ]
    problems = now.total("digits_repository_problems")
    warning = (
        f'<p class="bad">problems in the model repository: {problems:.0f}, the log says which</p>'
        if problems
        else ""
    )
    return (
        f"<h1>digit-server {escape(release)} {state}</h1>"
        f'<p class="dim">{escape("; ".join(facts))}</p>{warning}<h2>How it does</h2>'
    )


def _card(name: str, values: Sequence[float | None]) -> str:
    top = max((value for value in values if value is not None), default=0.0)
    shown, most = _figure(values[-1] if values else None), _figure(top)
    label = f"{name}: now {shown}, at most {most}"
    return (
        f'<div class="card"><div class="dim">{escape(name)}</div><b>{shown}</b> '
        f"<small>at most {most}</small>"
        f'<svg viewBox="0 0 {max(len(values), LEAST_WIDTH)} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f'<path d="{_line(values, top)}"/></svg></div>'
    )


def _line(values: Sequence[float | None], top: float) -> str:
    """Return an SVG path of the values, the newest at the right; it has gaps where there is none."""
    left = max(LEAST_WIDTH - len(values), 0)
    points = [
        (left + x, None if value is None else HEIGHT - 2 - (HEIGHT - 4) * value / (top or 1))
        for x, value in enumerate(values)
    ]
    runs = (list(run) for there, run in groupby(points, lambda point: point[1] is not None) if there)
    # A single point is drawn as a line of a step.
    return "".join(
        "M" + "L".join(f"{x} {y:.1f}" for x, y in run) + ("h1" if len(run) == 1 else "") for run in runs
    )


def _versions(now: Snapshot) -> Iterable[Sequence[str]]:
    infos = (sample.labels for sample in now.samples("digits_model_info") if sample.value)
    for info in sorted(infos, key=lambda info: (info["model"], -int(info["version"]))):
        version = {"model": info["model"], "version": info["version"]}
        shares = {
            each.labels["label"]: f" {each.value:.0%}"
            for each in now.samples("digits_label_share_ratio", **version)
        }
        labels = sorted(
            each.labels["label"] for each in now.samples("digits_label_info", **version) if each.value
        )
        since = now.total("digits_model_serving_since_timestamp_seconds", **version)
        yield (
            *version.values(),
            ", ".join(f"{label}{shares.get(label, '')}" for label in labels),
            f"{_when(since)}, {_duration(time.time() - since)} ago",
            f"{now.total('digits_predictions_total', **version):,.0f}",
            f"{now.total('digits_failed_calls_total', **version):,.0f}",
            f"{float(info['accuracy']):.2%}",
            f"{info['provider']}, {info['precision']}",
            info["sha256"][:12],
        )


def _events(news: News) -> Iterable[Sequence[str]]:
    for item in news.latest():
        who = f"worker {item.worker}: " if item.worker else ""
        event = item.event if item.level == "info" else _Bad(item.event)
        yield _when(item.at), event, who + item.details


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a head that begins with # is of numbers, the one called details is as wide as it likes."""
    kinds = [
        ' class="number"' if head[0] == "#" else ' class="wide"' if head == "details" else ""
        for head in heads
    ]
    titles = (f"<th{kind}>{escape(head.lstrip('#'))}" for head, kind in zip(heads, kinds, strict=True))
    lines = (
        "<tr>"
        + "".join(
            f"<td{_BAD if isinstance(cell, _Bad) else kind}>{escape(cell)}"
            for cell, kind in zip(row, kinds, strict=True)
        )
        for row in rows
    )
    return f'<div class="table"><table><tr>{"".join(titles)}{"".join(lines)}</table></div>'


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
