"""Autoscaling, alerts and dashboard use existing metrics."""

import re

from server.observability.table import TABLE
from tests.unit.deploy.manifests import DEPLOY, Variant

SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count"),
}
METRICS = {f"{metric.name}{suffix}" for metric in TABLE for suffix in SUFFIXES[metric.kind]}


def metrics_in(text: str) -> set[str]:
    """Names of ours, but for those that a recording rule made of them."""
    return set(re.findall(r"(?<![\w:])digits_\w+", text))


def test_every_metric_of_the_dashboard_and_of_the_stories_exists() -> None:
    for path in (DEPLOY / "monitoring").iterdir():
        assert metrics_in(path.read_text()) <= METRICS, path


def test_every_metric_in_a_query_exists(variant: Variant) -> None:
    for resource in variant.of_kind("ScaledObject", "PrometheusRule"):
        used = metrics_in(str(resource["spec"]))
        assert used
        assert used <= METRICS


def test_a_query_asks_for_the_job_that_prometheus_gives_our_pods(variant: Variant) -> None:
    services = {service["metadata"]["name"] for service in variant.of_kind("Service")}
    for resource in variant.of_kind("ScaledObject", "PrometheusRule"):
        assert set(re.findall(r'job="(\w+)"', str(resource["spec"]))) <= services
