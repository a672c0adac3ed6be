import dataclasses
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from trainer.evaluation.counts import evaluate
from trainer.report.evidence import Evidence, Integers
from trainer.report.page import duration, model_card, report_page, size
from trainer.report.record import Record
from trainer.report.write import drawings_of

SECTIONS = [
    "training",
    "confusion",
    "digits",
    "confidence",
    "mistakes",
    "robustness",
    "unfamiliar",
    "export",
    "provenance",
]


class Page(HTMLParser):
    """Collects what the tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.extend(data.split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def text(evidence: Evidence) -> str:
    return report_page(evidence, drawings_of(evidence))


def test_page_has_every_section_and_the_menu_leads_to_each(text: str) -> None:
    page = Page(text)
    assert [section["id"] for section in page.all("section")] == SECTIONS
    assert [link["href"] for link in page.all("a")] == [f"#{name}" for name in SECTIONS]


def test_page_needs_no_other_file(text: str) -> None:
    page = Page(text)
    assert not page.all("script")
    assert not page.all("link")
    assert all(str(image["src"]).startswith("data:image/png;base64,") for image in page.all("img"))
    assert not re.findall(r"url\((?!#)", text)


def test_page_is_small_enough_to_publish(text: str) -> None:
    assert len(text.encode()) < 250_000


def test_page_says_what_was_measured(text: str, evidence: Evidence) -> None:
    words = " ".join(Page(text).words)
    assert f"{evidence.evaluation.accuracy * 100:.2f} % of 1,000 digits never trained on" in words
    assert f"{evidence.evaluation.errors} wrong" in words
    assert f"Expected calibration error {evidence.calibration.ece * 100:.2f} %" in words
    for resistance in evidence.robustness.resistances:
        assert f"{resistance.accuracy * 100:.1f} % {resistance.level.label}" in words
    assert evidence.record.manifest["data"]["sha256"] in words


def test_gallery_shows_the_surest_mistakes_first(text: str, evidence: Evidence) -> None:
    confidence = evidence.probabilities.max(axis=1)
    wrong = np.flatnonzero(evidence.predicted != evidence.y_test)
    surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:40]
    assert [int(n) for n in re.findall(r"</span>image (\d+)</figcaption>", text)] == surest.tolist()


def test_text_of_a_recipe_cannot_break_the_page(evidence: Evidence) -> None:
    recipe = 'summary = "<script>alert(1)</script>"\n'
    record = Record(evidence.record.manifest, recipe, evidence.record.history)
    text = report_page(dataclasses.replace(evidence, record=record), drawings_of(evidence))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_model_without_mistakes_has_a_page_and_a_card(evidence: Evidence) -> None:
    perfect = dataclasses.replace(
        evidence,
        probabilities=np.eye(10, dtype=np.float32)[evidence.y_test],
        evaluation=evaluate(evidence.y_test, evidence.y_test),
    )
    assert "There are none." in report_page(perfect, drawings_of(perfect))
    assert "Most frequent confusions" not in model_card(perfect)


def test_model_in_integers_is_shown_beside_the_float_one(evidence: Evidence) -> None:
    integers = Integers(accuracy=0.8123, same_digits=0.9991, model_bytes=9000, latency=evidence.latency)
    words = " ".join(
        Page(report_page(dataclasses.replace(evidence, integers=integers), drawings_of(evidence))).words
    )
    assert "in 8-bit integers gets 81.23 % right and gives the same digit for 99.91 %" in words
    assert "In 8-bit integers 9 KB" in words


def test_card_names_limits_and_origin(evidence: Evidence) -> None:
    card = model_card(evidence)
    assert card.startswith("# Model card: digits\n")
    for needed in (
        "## What it is not for",
        "95 % interval",
        evidence.record.manifest["data"]["sha256"],
        "CC BY-SA",
    ):
        assert needed in card
    rows = re.findall(r"^\| \d \|", card, re.MULTILINE)
    assert len(rows) == 10


@pytest.mark.parametrize(
    ("count", "words"), [(999, "999 bytes"), (125_000, "125 KB"), (1_234_567, "1.23 MB")]
)
def test_sizes_are_written_for_people(count: int, words: str) -> None:
    assert size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (76e-6, "76 µs"),
        (0.00391, "3.91 ms"),
        (0.5, "500 ms"),
        (4.5, "4.5 s"),
        (720, "12 minutes"),
        (9000, "2.5 hours"),
    ],
)
def test_times_are_written_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_manifest_fixture_is_json(manifest: dict[str, Any]) -> None:
    assert json.loads(json.dumps(manifest)) == manifest
