"""`digit-client shadow` on the metrics of a real server."""

import json
from collections.abc import Iterator

import numpy as np
import pytest

from clients.cli import main
from tests.conftest import Publish, linear_answers
from tests.process import RunningServer, running

IMAGES = np.random.default_rng(3).integers(0, 256, (200, 784), np.uint8)


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory, publish: Publish) -> Iterator[str]:
    """The URL of a server's metrics, once a candidate has run 200 images."""
    repository = tmp_path_factory.mktemp("repository")
    for version in (1, 2):
        publish(repository, version=version)
    labels = {"stable": 1, "canary": {"version": 2, "shadow": 1.0}}
    (repository / "digits" / "labels.json").write_text(json.dumps(labels))
    with running("--model-repository", repository) as server:
        server.predict(IMAGES.tobytes())
        server.reaches("digits_shadow_images_total", len(IMAGES))
        yield f"http://127.0.0.1:{server.metrics_port}/metrics"


def test_agreement_and_differences_are_those_of_the_two_versions(
    metrics: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shadow", "--metrics", metrics, "--output", "json"]) == 0
    record = json.loads(capsys.readouterr().out)
    stable, candidate = (linear_answers(version, IMAGES).argmax(axis=1) for version in (1, 2))
    agreement = (stable == candidate).mean()
    assert (record["model"], record["version"], record["shadow_version"]) == ("digits", "1", "2")
    assert (record["images"], record["skipped"]) == (200, 0)
    assert record["agreement"] == pytest.approx(agreement)
    assert record["image_us"] > 0
    assert record["shadow_image_us"] > 0
    assert 0 <= record["agreement_low"] < agreement < record["agreement_high"] <= 1
    confusion = np.zeros((10, 10), int)
    for digit, other, count in record["confusion"]:
        confusion[int(digit), int(other)] = count
    expected = np.zeros((10, 10), int)
    np.add.at(expected, (stable, candidate), 1)
    np.testing.assert_array_equal(confusion, expected)


def test_table_names_the_most_frequent_difference(metrics: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shadow", "digits", "--metrics", metrics]) == 0
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split()[:6] == ["model", "version", "shadow", "images", "skipped", "agreement"]
    assert row.split()[:5] == ["digits", "1", "2", "200", "0"]
    assert "us an image  candidate" in heading
    assert " is " in row


def test_model_without_a_shadow_is_named_with_how_to_begin(
    metrics: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shadow", "fast", "--metrics", metrics]) == 1
    assert "no candidate of model fast was compared yet; `digit-trainer publish" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:9/metrics", "Connection refused"),
        ("file:///etc/passwd", "expected a URL such as http://"),
        ("http://no host/metrics", "--metrics http://no host/metrics: "),
    ],
)
def test_page_that_cannot_be_read_is_one_line(
    url: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["shadow", "--metrics", url]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_page_of_something_else_is_named(server: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{server.metrics_port}/"
    assert main(["shadow", "--metrics", url]) == 1
    assert f"--metrics {url}: " in capsys.readouterr().err
