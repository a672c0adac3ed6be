"""docs/reliability.md names existing tests."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_each_promise_names_tests_that_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text()))
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    there = {name for source in sources for name in re.findall(r"def (test_\w+)", source)}
    assert len(named) > 25
    assert named <= there
