"""docs/metrics.md against the table of metrics."""

import re
from pathlib import Path

from server.observability.table import TABLE

DOCS = Path(__file__).parents[4] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(digits_\w+)` \| (\w+) \| (.*?)\| .+ \|$", re.MULTILINE)


def test_docs_list_every_metric_with_its_type_and_labels() -> None:
    rows = {
        name: (type_, re.findall(r"`(\w+)`", labels)) for name, type_, labels in ROW.findall(DOCS.read_text())
    }
    described = {
        f"{metric.name}_total" if metric.kind == "counter" else metric.name: (
            metric.kind,
            list(metric.labels),
        )
        for metric in TABLE
    }
    assert rows == described
