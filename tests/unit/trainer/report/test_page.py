import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from trainer.data.dataset import Dataset
from trainer.errors import TrainerError
from trainer.report.evidence import Evidence, gather
from trainer.report.figures import figures
from trainer.report.page import (
    duration,
    model_card,
    report_page,
    write_report,
)
from trainer.report.robustness import CORRUPTIONS
from trainer.report.scores import score
from trainer.repository.publish import NOT_PUBLISHED
from trainer.run import Run

SECTIONS = [
    *("architecture", "training", "confusion", "digits", "confidence", "misclassified"),
    *("robustness", "ood", "export", "provenance"),
]


class Page(HTMLParser):
    """The tags and words of a page."""

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
def words_of(run: Run, manifest: dict[str, Any]) -> Callable[[Evidence], str]:
    return lambda evidence: " ".join(Page(report_page(run, manifest, evidence)).words)


@pytest.fixture(scope="module")
def text(run: Run, evidence: Evidence) -> str:
    """The page that write_report wrote."""
    del evidence
    return (run.report / "report.html").read_text()


def test_report_holds_every_form_of_the_evidence(run: Run, evidence: Evidence) -> None:
    there = {path.name: path.stat().st_size for path in run.report.iterdir()}
    pictures = {"confusion_matrix", *figures(evidence)}
    assert set(there) == {f"{name}.png" for name in pictures} | {
        *("metrics.json", "report.html", "MODEL_CARD.md", "predictions.tsv", "probabilities.tsv"),
        "misclassified.tsv",
    }
    assert sum(size for name, size in there.items() if name not in NOT_PUBLISHED) < 1_000_000


def test_page_has_every_section_and_the_menu_leads_to_each(text: str) -> None:
    page = Page(text)
    assert [section["id"] for section in page.all("section")] == SECTIONS
    assert [link["href"] for link in page.all("a")] == [f"#{name}" for name in SECTIONS]


def test_page_needs_no_other_file(text: str) -> None:
    page = Page(text)
    assert not page.all("script")
    assert not page.all("link")
    assert all(str(image["src"]).startswith("data:image/") for image in page.all("img"))


def test_page_states_what_was_measured(text: str, evidence: Evidence, manifest: dict[str, Any]) -> None:
    words = " ".join(Page(text).words)
    assert f"{evidence.metrics['test_accuracy'] * 100:.2f} % accuracy on 1,000 test images" in words
    assert f"{evidence.metrics['test_errors_images']} misclassified" in words
    assert f"Expected calibration error {evidence.metrics['test_ece'] * 100:.2f} %" in words
    for corruption in CORRUPTIONS:
        assert f"{evidence.metrics[corruption.metric] * 100:.1f} % {corruption.level}" in words
    assert "Dense units 10, activation softmax 10 7,840" in words
    assert manifest["data"]["sha256"] in words


def test_gallery_shows_the_most_confident_errors_first(text: str, evidence: Evidence) -> None:
    confidence = evidence.probabilities.max(axis=1)
    wrong = np.flatnonzero(evidence.predicted != evidence.y_test)
    first = wrong[np.argsort(-confidence[wrong], kind="stable")][:40]
    assert [int(n) for n in re.findall(r"image (\d+)</figcaption>", text)] == first.tolist()


def test_tied_confusions_have_no_sentence_and_single_errors_no_list(
    evidence: Evidence, words_of: Callable[[Evidence], str]
) -> None:
    predicted = evidence.y_test.copy()
    predicted[:4] = (evidence.y_test[:4] + 1) % 10
    scores = score(evidence.y_test, np.eye(10, dtype=np.float32)[predicted])
    tied = dataclasses.replace(evidence, metrics=evidence.metrics | scores)
    words = words_of(tied)
    assert "most frequent confusion" not in words or "(1 images)" not in words
    assert "1 times" not in words


def test_text_of_a_recipe_cannot_break_the_page(
    run: Run, manifest: dict[str, Any], evidence: Evidence, tmp_path: Path
) -> None:
    shutil.copytree(run.folder, tmp_path / "run")
    copy = Run(tmp_path / "run")
    recipe = msgspec.structs.replace(run.read_recipe(), summary="<script>alert(1)</script>")
    copy.recipe.write_bytes(msgspec.json.encode(recipe))
    text = report_page(copy, manifest, evidence)
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_model_without_errors_has_a_page_and_a_card(
    run: Run, manifest: dict[str, Any], evidence: Evidence, words_of: Callable[[Evidence], str]
) -> None:
    probabilities = np.eye(10, dtype=np.float32)[evidence.y_test]
    metrics = evidence.metrics | score(evidence.y_test, probabilities)
    perfect = dataclasses.replace(evidence, probabilities=probabilities, metrics=metrics)
    assert "Misclassified images None." in words_of(perfect)
    assert "Most frequent confusions" not in model_card(run, manifest, perfect)


def test_8_bit_model_is_shown_beside_the_float_one(
    evidence: Evidence, words_of: Callable[[Evidence], str]
) -> None:
    timed = {f"int8_{key}": v for key, v in evidence.metrics.items() if key.startswith(("lat", "thr"))}
    int8 = {"int8_test_accuracy": 0.8123, "int8_same_digits_share": 0.9991, "int8_model_bytes": 9000}
    words = words_of(dataclasses.replace(evidence, metrics=evidence.metrics | int8 | timed))
    assert "8-bit graph has an accuracy of 81.23 % and predicts the same digit for 99.91 %" in words
    assert "kept by its results on 400 validation images" in words
    assert "model.int8.onnx 9.0 kB" in words


def test_stable_version_is_compared_on_the_same_test_images(
    run: Run, manifest: dict[str, Any], evidence: Evidence, tmp_path: Path
) -> None:
    stable = tmp_path / "3"
    shutil.copytree(run.report, stable / "report")
    (stable / "manifest.json").write_text(json.dumps(manifest))
    wrong = (stable / "report/misclassified.tsv").read_text().splitlines()
    (stable / "report/misclassified.tsv").write_text("\n".join(wrong[:-20]) + "\n")
    metrics = json.loads((stable / "report/metrics.json").read_text())
    metrics["test_accuracy"] += 0.02
    (stable / "report/metrics.json").write_text(json.dumps(metrics))
    copy = copy_of(run, tmp_path)
    write_report(copy, manifest, evidence, stable)
    words = " ".join(Page((copy.report / "report.html").read_text()).words)
    assert "0 images are right in this run and wrong in the stable version, 20 the other way round" in words
    accuracy = evidence.metrics["test_accuracy"]
    assert f"Test accuracy {accuracy:.2%} {accuracy + 0.02:.2%} worse" in words
    assert "a significant difference" in words


def test_card_has_the_header_of_hugging_face_and_names_owner_licence_limits_and_origin(
    run: Run, manifest: dict[str, Any], evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIGITS_MODEL_OWNER", "Reading room")
    monkeypatch.setenv("DIGITS_MODEL_LICENSE", "apache-2.0")
    card = model_card(run, manifest, evidence)
    header = card.split("---\n")[1]
    assert "license: apache-2.0\n" in header
    assert "pipeline_tag: image-classification\n" in header
    assert f"value: {evidence.metrics['test_accuracy']:.4f}" in header
    digest = manifest["data"]["sha256"]
    for needed in ("| Owner | Reading room |", "## Limits", "95 % interval", digest, "CC BY-SA"):
        assert needed in card
    assert len(re.findall(r"^\| \d \|", card, re.MULTILINE)) == 10


def copy_of(run: Run, tmp_path: Path) -> Run:
    """The run with an empty report folder."""
    shutil.copytree(run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("report"))
    (tmp_path / "run" / "report").mkdir()
    return Run(tmp_path / "run")


def test_report_that_cannot_be_written_is_named(
    run: Run, manifest: dict[str, Any], evidence: Evidence, tmp_path: Path
) -> None:
    copy = copy_of(run, tmp_path)
    (copy.report / "metrics.json").mkdir()
    with pytest.raises(TrainerError, match=r"metrics\.json: cannot write the report: Is a directory"):
        write_report(copy, manifest, evidence)


def test_report_folder_that_cannot_be_made_is_named_before_the_measurements(
    run: Run, manifest: dict[str, Any], sample: Dataset, tmp_path: Path
) -> None:
    copy = copy_of(run, tmp_path)
    copy.report.rmdir()
    copy.report.write_text("in the way")
    with pytest.raises(FileExistsError, match="report"):
        gather(copy, manifest, sample, pytest.fail)


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
def test_durations_are_written_for_people(seconds: float, words: str) -> None:
    assert duration(seconds) == words
