"""The HTML of the status page."""

import re
from html.parser import HTMLParser

from server.observability.logs import RecentEvent, RecentEvents
from server.observability.metrics import Metrics
from server.observability.status_page import HEADERS, StatusPage


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, page: StatusPage, *, ready: bool = True) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.cells: list[str] = []
        self.source = page.render(ready=ready).decode()
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")

    def handle_data(self, data: str) -> None:
        self.cells.append(data)


def metrics_of_a_canary() -> Metrics:
    metrics = Metrics()
    for version in (3, 4):
        metrics.loaded("digits", version)
    metrics.serving(
        {("digits", str(version), f"{version}bcdef" * 11, "cpu", "float32", "0.9951") for version in (3, 4)}
    )
    metrics.labelled({("digits", "stable", "3"): None, ("digits", "canary", "4"): 0.05})
    return metrics


def test_what_serves_is_shown_newest_first() -> None:
    page = Page(StatusPage(metrics_of_a_canary().read, RecentEvents()))
    first = page.cells.index("canary 5%")
    assert page.cells[first - 2 : first] == ["digits", "4"]
    assert page.cells[first + 2 : first + 7] == ["0", "0", "99.51%", "cpu, float32", "4bcdef4bcdef"]
    assert page.cells.index("stable") > first


def test_events_are_shown_newest_first_and_nothing_in_them_is_markup() -> None:
    events = RecentEvents()
    events.append(
        RecentEvent.of(
            {"event": "version refused", "level": "warning", "model": "<script>", "reason": "a & b"}
        )
    )
    events.append(RecentEvent(0, "worker died", "error", "x", "1"))
    page = Page(StatusPage(Metrics().read, events))
    assert "script" not in page.tags
    assert page.cells.index("worker died") < page.cells.index("version refused")
    assert '<td class="bad">worker died<td' in page.source
    assert {"worker 1: x", "model <script>, a & b", "1970-01-01 00:00"} <= set(page.cells)


def test_page_loads_nothing_and_its_policy_says_so() -> None:
    page = Page(StatusPage(metrics_of_a_canary().read, RecentEvents()))
    assert not {"script", "link", "img", "iframe", "form", "a"} & set(page.tags)
    assert not {"src", "href", "style", "onload", "onclick"} & page.attributes.keys()
    policy = dict(HEADERS)["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


def test_refreshes_itself() -> None:
    assert Page(StatusPage(Metrics().read, RecentEvents())).attributes["http-equiv"] == ["refresh"]


def test_a_server_that_is_not_ready_says_so() -> None:
    assert "not ready" in Page(StatusPage(Metrics().read, RecentEvents()), ready=False).cells


def test_figures_are_drawn_with_the_newest_at_the_right() -> None:
    metrics = Metrics()
    page = StatusPage(metrics.read, RecentEvents())
    for calls in (0, 1, 2):
        for _ in range(calls):
            metrics.finished("service", "Predict", "OK", 0.003)
        metrics.flush()
        page.history.record()
    assert len(page.history.figures()["calls a second"]) == 2
    (path, *_) = re.findall(r'<path d="(M[^"]+)"', page.render(ready=True).decode())
    assert re.fullmatch(r"M34 \d+\.\d+L35 2\.0", path) or re.fullmatch(r"M34 2\.0L35 \d+\.\d+", path)
    labels = Page(page).attributes["aria-label"]
    assert any(label.startswith("p50 latency, ms: now 3.75") for label in labels)
    assert "errors a second: now 0, peak 0" in labels
