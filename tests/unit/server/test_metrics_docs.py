"""docs/metrics.md against the metrics that there are."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from server.metrics import Metrics, worker_metrics

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(digits_\w+)` \| (\w+) \| (.*?)\| .+ \|$", re.MULTILINE)


def described(registry: CollectorRegistry) -> dict[str, tuple[str, list[str]]]:
    """Type and label names of each metric, by the name that it has on the page."""
    return {
        f"{metric._name}_total" if metric._type == "counter" else metric._name: (
            metric._type or "",
            list(metric._labelnames),
        )
        for metric in registry._collector_to_names
        if isinstance(metric, MetricWrapperBase)
    }


def test_docs_list_every_metric_with_its_type_and_labels() -> None:
    registry = Metrics().registry
    worker_metrics(registry)
    rows = {
        name: (type_, re.findall(r"`(\w+)`", labels)) for name, type_, labels in ROW.findall(DOCS.read_text())
    }
    assert rows == described(registry)
