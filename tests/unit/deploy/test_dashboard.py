"""The dashboard is one that Grafana reads; what its queries find, a test with a real Prometheus tells."""

import json
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from tests.unit.deploy.manifests import DEPLOY

DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
# What the Prometheus plugin and the dashboard's editor add, of which the types know nothing.
ADDED = {"definition", "step", "titleFormat", "useValueForTime"}


def lost(before: Any, after: Any) -> Iterator[str]:
    """Name the keys that a round trip lost or changed."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost(value, after[key]) if key in after else [key]
    elif isinstance(before, list) and isinstance(after, list):
        for one, other in zip(before, after, strict=True):
            yield from lost(one, other)
    elif before != after:
        yield f"{before} became {after}"


def test_grafanas_own_types_know_every_field() -> None:
    sdk = "grafana_foundation_sdk"
    types = pytest.importorskip(f"{sdk}.models.dashboard", reason="NOT RUN: grafana-foundation-sdk is needed")
    import_module(f"{sdk}.cog.plugins").register_default_plugins()
    encoder = import_module(f"{sdk}.cog.encoder").JSONEncoder()
    read = types.Dashboard.from_json(DASHBOARD)
    assert set(lost(DASHBOARD, json.loads(encoder.encode(read)))) <= ADDED


def test_panels_lie_beside_each_other_on_the_grid() -> None:
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for cell in [
            (place["x"] + right, place["y"] + down)
            for right in range(place["w"])
            for down in range(place["h"])
        ]:
            assert cell not in taken, panel["title"]
            taken.add(cell)


def test_every_panel_has_a_number_a_title_and_a_word_of_explanation() -> None:
    for key in ("id", "title"):
        values = [panel[key] for panel in DASHBOARD["panels"]]
        assert len(set(values)) == len(values)
    assert all(panel["description"] for panel in PANELS)


def test_every_query_asks_the_prometheus_that_is_chosen_above() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["query"] == "prometheus"
    for panel in PANELS:
        for target in panel["targets"]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert "namespace=~" in target["expr"]
