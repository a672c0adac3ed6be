"""README, docs and CONTRIBUTING name existing files and commands."""

import re

import pytest

from tests.unit.deploy.manifests import ROOT

FOLDERS = ("", "docs", "docs/adr", "deploy", "tests/bench")
PAGES = {str(path.relative_to(ROOT)): path for folder in FOLDERS for path in (ROOT / folder).glob("*.md")}
MAKEFILE = (ROOT / "Makefile").read_text()
MAX_README_WORDS, MAX_DOCS_WORDS = 600, 12_000
# `make` and a word, where the page shows it as code.
MADE = re.compile(r"`make ([a-z-]+)|^(?:\$ )?make ([a-z-]+)", re.MULTILINE)


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGES[name].read_text()):
        assert (PAGES[name].parent / link).exists(), link


@pytest.mark.parametrize("name", PAGES)
def test_make_has_the_targets_that_pages_name(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert {one or other for one, other in MADE.findall(PAGES[name].read_text())} <= targets


def test_contributing_sends_people_to_paths_that_exist() -> None:
    paths = re.findall(
        r"(?:server|trainer|clients|tests|deploy|docs)/[\w./*]+", PAGES["CONTRIBUTING.md"].read_text()
    )
    assert [path for path in paths if not list(ROOT.glob(path.rstrip("/")))] == []


def test_pages_stay_short() -> None:
    words = {name: len(page.read_text().split()) for name, page in PAGES.items()}
    assert words["README.md"] <= MAX_README_WORDS
    assert (
        sum(words[name] for name in words if name == "README.md" or name.startswith("docs/"))
        <= MAX_DOCS_WORDS
    )


def test_make_help_fits_on_a_screen() -> None:
    assert len(re.findall(r"^[a-z-]+:.*## ", MAKEFILE, re.MULTILINE)) <= 18
