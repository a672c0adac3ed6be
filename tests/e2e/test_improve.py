"""docs/improve.md from beginning to end: sevens of low confidence become training images."""

import io
import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clients.images import find_digits
from tests.conftest import Trained
from tests.e2e.shell import run, serves
from tests.integration.clients.web_process import serving, serving_page
from tests.process import RunningServer, running
from trainer.data.dataset import load_sample

pytestmark = pytest.mark.slow

BELOW = 0.9
SEVENS = 50


def ask(url: str, content: bytes | None = None) -> Any:
    with urllib.request.urlopen(url, content) as answer:  # noqa: S310 - our own URL
        return json.load(answer)


def seven(random: np.random.Generator) -> bytes:
    """A picture of a seven with a long serif, a bent stem, a crossbar and a foot."""
    picture = Image.new("L", (280, 280), 255)
    pen = ImageDraw.Draw(picture)
    left, right, middle = random.normal((70, 205, 115), 8)
    top, bottom, bar = random.normal((60, 230, 150), 8)
    pen.line([(left, top + 60), (left + 4, top), (right, top + 4)], fill=0, width=16, joint="curve")
    pen.line([(right, top + 4), (middle + 30, bar - 10), (middle, bottom)], fill=0, width=16, joint="curve")
    pen.line([(middle - 25, bar + 6), (middle + 75, bar - 6)], fill=0, width=16)
    pen.line([(middle - 35, bottom), (middle + 40, bottom)], fill=0, width=16)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def sevens(seed: int) -> list[bytes]:
    random = np.random.default_rng(seed)
    return [seven(random) for _ in range(SEVENS)]


def prepared(pictures: list[bytes]) -> NDArray[np.uint8]:
    return np.stack([find_digits(picture)[0].image.reshape(784) for picture in pictures])


def right(server: RunningServer, images: NDArray[np.uint8], label: str) -> int:
    return list(server.predict(images.tobytes(), label=label).digits).count(7)


def test_what_the_model_was_not_sure_of_makes_the_next_version_better(
    trained: Trained, tmp_path: Path
) -> None:
    repository, captured = tmp_path / "repository", tmp_path / "captured"
    shutil.copytree(trained.repository, repository)
    there = ("--repository", repository)
    run("digit-trainer", "promote", *there, "--version", 1)
    capture = ("--capture-dir", captured, "--capture-below", BELOW)
    arguments = ("--model-repository", repository, "--repository-poll-seconds", 0.1, *capture)
    with running(*arguments) as server:
        with serving_page(server.address) as page:
            answers = [ask(f"{page}predict", picture)["digits"][0] for picture in sevens(1)]
        unsure = sum(answer["confidence"] < BELOW for answer in answers)
        assert unsure > SEVENS / 4  # otherwise there is nothing to learn
        server.reaches("digits_captured_images_total", unsure)

        with serving("label", str(captured)) as page:
            images = [image for image in ask(f"{page}images")["images"] if image["why"] == "uncertain"]
            assert len(images) == unsure
            for image in images:
                move = {"name": image["name"], "from": "unlabelled", "to": "7"}
                ask(f"{page}move", json.dumps(move).encode())

        better = tmp_path / "better"
        data = ("--data", "sample", "--extra", captured, "--epochs", 3)
        printed = run("digit-trainer", "train", "--recipe", "digits", *data, "--run-dir", better)
        assert "captured images among the training images" in printed
        run("digit-trainer", "publish", better, *there, "--label", "canary", "--shadow", 1)
        serves(server, {"stable": 1, "canary": 2})

        test_images = load_sample().x_test
        for start in range(0, len(test_images), 100):
            server.predict(test_images[start : start + 100].tobytes())
            server.reaches("digits_shadow_images_total", start + 100)
        metrics = ("--metrics", f"http://127.0.0.1:{server.metrics_port}/metrics")
        shadow = json.loads(run("digit-client", "shadow", *metrics, "--output", "json"))
        assert shadow["images"] == len(test_images)

        others = prepared(sevens(2))  # unlabelled
        before, after = right(server, others, "stable"), right(server, others, "canary")
        assert after > before
        assert after > 0.9 * SEVENS

        gate = (*metrics, "--min-shadow-images", len(test_images), "--shadow-agreement")
        assert "expected at least" in run("digit-trainer", "promote", *there, *gate, 1, code=3)
        run("digit-trainer", "promote", *there, *gate, 0.5)
        serves(server, {"stable": 2, "canary": 2})
        assert server.predict(others.tobytes()).version == 2
