"""Rules, alerts and the dashboard against a real Prometheus that scrapes real servers under load."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import yaml

from protos.digits.v1.prediction_pb2 import PredictRequest
from tests.conftest import Publish
from tests.integration.deploy.prometheus import MONITORING, Prometheus, scraping
from tests.process import RunningServer, running

DATA_SECONDS = 60
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
VARIABLES = {"$namespace": ".*", "$__rate_interval": "10s"}
RECORDED = [
    rule["record"]
    for group in yaml.safe_load((MONITORING / "recording.yaml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = (MONITORING / "alerts.yaml").read_text()


class Watched:
    """Prometheus and the servers that it scrapes; each query generates traffic first."""

    def __init__(self, prometheus: Prometheus, servers: list[RunningServer]) -> None:
        self.prometheus = prometheus
        self._servers = servers
        self._images = np.random.default_rng(1).integers(0, 256, (40, 784), np.uint8).tobytes()

    def load(self) -> None:
        """Send calls, some of them invalid or too large."""
        for server in self._servers:
            for n in range(1, 41):
                server.predict(self._images[: 784 * n])
            # Together more than the queue holds; the last is no image.
            requests = [PredictRequest(images=images) for images in [self._images] * 30 + [b"not an image"]]
            for call in [server.stub.Predict.future(request) for request in requests]:
                call.exception()

    def eventually(self, query: str) -> list[float]:
        """Wait until a query has a result; return it."""
        deadline = time.monotonic() + DATA_SECONDS
        while not (values := self.prometheus.values(query)):
            assert time.monotonic() < deadline, f"no data: {query}"
            self.load()
        return values


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, publish: Publish) -> Iterator[Watched]:
    """One server of two workers and one of a single process, with a stable version and a canary."""
    folder = tmp_path_factory.mktemp("monitoring")
    repository = folder / "repository"
    for version in (1, 2):
        publish(repository, version=version)
    (repository / "digits" / "labels.json").write_text(
        json.dumps({"stable": 1, "canary": {"version": 2, "share": 0.3, "shadow": 0.5}})
    )
    options = ("--model-repository", repository, "--max-queue-images", 64, "--max-request-images", 64)
    with (
        running(*options, "--workers", 2) as several,
        running(*options) as one,
        scraping(folder, several.metrics_port, one.metrics_port) as prometheus,
    ):
        watched = Watched(prometheus, [several, one])
        watched.eventually("digits_worker_restarts_total")
        several.workers[0].kill()
        assert several.event("worker ready")
        yield watched


def queries() -> dict[str, str]:
    """Every query of the dashboard, with its variables filled in."""
    found = {}
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        found[f"annotation {annotation['name']}"] = annotation["expr"]
    for name, query in found.items():
        for variable, value in VARIABLES.items():
            query = query.replace(variable, value)  # noqa: PLW2901 - filled in bit by bit
        found[name] = query
    return found


@pytest.mark.parametrize("name", queries())
def test_every_query_of_the_dashboard_finds_data(watched: Watched, name: str) -> None:
    assert watched.eventually(queries()[name])


@pytest.mark.parametrize("name", RECORDED)
def test_every_recording_rule_records(watched: Watched, name: str) -> None:
    assert watched.eventually(name)


def selectors() -> list[str]:
    """What the alerts look at: each name with its matchers."""
    expressions = [rule["expr"] for group in yaml.safe_load(ALERTS)["groups"] for rule in group["rules"]]
    name = r"(?<![\w:])(?:up|process_\w+|digits_\w+|\w+:digits_\w+:\w+)(?:\{[^}]*\})?"
    return sorted({found for each in expressions for found in re.findall(name, each)})


@pytest.mark.parametrize("selector", selectors())
def test_every_series_that_an_alert_looks_at_is_there(watched: Watched, selector: str) -> None:
    assert watched.eventually(selector)


def test_every_rule_is_evaluated_without_an_error(watched: Watched) -> None:
    watched.eventually("job:digits_requests:rate5m")
    rules = [rule for group in watched.prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > len(RECORDED)
    assert {rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] == "err"} == {}


def test_refused_calls_burn_the_error_budget_and_the_alert_reads_well(watched: Watched) -> None:
    watched.eventually('ALERTS{alertname="DigitsErrorBudgetBurnsFast", alertstate="firing"}')
    alerts: list[dict[str, Any]] = watched.prometheus.get("alerts")["alerts"]
    (alert,) = [each for each in alerts if each["labels"]["alertname"] == "DigitsErrorBudgetBurnsFast"]
    assert re.fullmatch(r"[\d.]+% of calls failed; .+", alert["annotations"]["description"])
