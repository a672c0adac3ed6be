"""Shadow traffic, invisible to callers."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.batching.batcher import Batcher
from server.observability.metrics import Metrics
from server.observability.table import SHADOW_IMAGES, SHADOW_SKIPPED
from server.versions.repository import parse_labels
from server.versions.served_model import Serving
from server.versions.shadow import MAX_WAITING_IMAGES, RUN_IMAGES, Shadow
from tests.conftest import Publish, linear_answers
from tests.graphs import TROUBLE, nan_graph
from tests.process import RunningServer, running

IMAGES = np.random.default_rng(3).integers(0, 256, (200, 784), np.uint8)
DIGITS = {version: linear_answers(version, IMAGES).argmax(axis=1) for version in (1, 2)}


@pytest.fixture
def repository(tmp_path: Path, publish: Publish) -> Path:
    publish(tmp_path, version=1)
    publish(tmp_path, version=2)
    label(tmp_path, stable=1, candidate={"version": 2, "shadow": 1.0})
    return tmp_path


def label(repository: Path, **labels: Any) -> None:
    path = repository / "digits" / ".labels.json"
    path.write_text(json.dumps(labels))
    path.rename(repository / "digits" / "labels.json")


def compared(server: RunningServer, images: int, **labels: str) -> None:
    """Wait until this many images were compared."""
    server.reaches("digits_shadow_images_total", images, **labels)


def test_metrics_have_the_confusion_of_the_stable_version_and_the_candidate(repository: Path) -> None:
    with running("--model-repository", repository) as server:
        answer = server.predict(IMAGES.tobytes())
        assert (answer.version, list(answer.digits)) == (1, DIGITS[1].tolist())
        compared(server, len(IMAGES), version="1", shadow_version="2")
        confusion = np.zeros((10, 10))
        np.add.at(confusion, (DIGITS[1], DIGITS[2]), 1)
        for digit, other in np.argwhere(confusion):
            pair = {"digit": str(digit), "shadow_digit": str(other)}
            assert server.metric("digits_shadow_images_total", **pair) == confusion[digit, other]
        assert server.metric("digits_shadow_images_total") == len(IMAGES)
        runs = server.metric("digits_shadow_duration_seconds_count", shadow_version="2")
        assert runs == len(IMAGES) / RUN_IMAGES
        page = server.get("/")[1]
        assert "<h2>Shadow</h2>" in page
        assert f"{(DIGITS[1] == DIGITS[2]).mean():.3%}" in page


def test_a_share_of_the_images_is_compared(repository: Path) -> None:
    label(repository, stable=1, candidate={"version": 2, "shadow": 0.2})
    with running("--model-repository", repository) as server:
        for image in IMAGES:
            server.predict(image.tobytes())
        server.predict(IMAGES.tobytes())
        compared(server, 79)
        assert server.metric("digits_shadow_images_total") == pytest.approx(80, abs=1)


def test_candidate_answers_those_who_ask_for_it_and_nobody_else(repository: Path) -> None:
    with running("--model-repository", repository) as server:
        assert {server.predict(IMAGES[:1].tobytes()).version for _ in range(50)} == {1}
        assert server.predict(IMAGES[:1].tobytes(), label="candidate").version == 2
        compared(server, 50)
        assert server.metric("digits_shadow_images_total", version="2") == 0


def test_shadow_follows_the_labels(repository: Path) -> None:
    label(repository, stable=1)
    with running("--model-repository", repository, "--repository-poll-seconds", 0) as server:
        label(repository, stable=1, candidate={"version": 2, "shadow": 1})
        server.process.send_signal(signal.SIGHUP)
        assert server.event("shadow began")["shadow_version"] == 2
        server.predict(IMAGES.tobytes())
        compared(server, len(IMAGES))
        label(repository, stable=2)  # promoted
        server.process.send_signal(signal.SIGHUP)
        server.event("shadow ended")
        assert server.predict(IMAGES[:1].tobytes()).version == 2
        server.event("version released")
        assert server.metric("digits_shadow_images_total") == 0


def test_candidate_that_fails_ends_its_shadow_and_no_call(tmp_path: Path, publish: Publish) -> None:
    publish(tmp_path, version=1, graph=nan_graph())
    publish(tmp_path, version=2)
    label(tmp_path, stable=2, candidate={"version": 1, "shadow": 1})
    with running("--model-repository", tmp_path) as server:
        assert server.predict(TROUBLE).version == 2
        assert server.event("shadow ended: its candidate failed")["version"] == "1"
        assert server.predict(IMAGES.tobytes()).version == 2


class Candidate:
    """A model that takes no time."""

    name, version = "digits", 2

    def predict(self, images: np.ndarray) -> np.ndarray:
        return np.eye(10, dtype=np.float32)[images[:, 0] % 10]


def test_images_that_wait_for_the_candidate_are_bounded_and_the_rest_counted() -> None:
    metrics, idle_work = Metrics(), set[Shadow]()
    batcher = Batcher(
        Candidate(), metrics.loaded("digits", 1), max_batch_images=8, max_queue_images=8, ready=set()
    )
    answering: Any = Serving(Candidate(), batcher)  # type: ignore[arg-type]  # as much of a model as it needs
    shadow = Shadow(answering, answering, 1.0, metrics, idle_work)
    images = np.zeros((MAX_WAITING_IMAGES + 10, 784), np.uint8)
    (observe,) = batcher.observers
    observe(images, np.zeros(len(images), np.int64), np.ones(len(images), np.float32))
    while idle_work:
        shadow.run()
    snapshot = metrics.read()
    assert (snapshot.total(SHADOW_IMAGES), snapshot.total(SHADOW_SKIPPED)) == (MAX_WAITING_IMAGES, 10)
    shadow.close()
    assert not batcher.observers


def test_labels_of_a_shadow_are_on_trial() -> None:
    labels = parse_labels(b'{"stable": 1, "next": {"version": 2, "shadow": 0.2}}')
    assert [labels[name].on_trial for name in ("stable", "next")] == [False, True]
