"""Capture of images of low confidence, without an effect on calls."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from server.observability import capture as module
from server.observability.capture import MAX_UNCERTAIN, UNLABELLED, Capture, Image, png
from server.observability.series import Store
from server.observability.table import CAPTURE_SKIPPED, CAPTURED
from tests.conftest import linear_answers
from tests.process import RunningServer, ServerProcess, running

IMAGES = np.random.default_rng(5).integers(0, 256, (20, 784), np.uint8)
PROBABILITIES = linear_answers(1, IMAGES)


def name_of(image: np.ndarray) -> str:
    return f"{hashlib.sha256(image.tobytes()).hexdigest()[:32]}.png"


def kept(server: RunningServer, images: int) -> None:
    server.reaches("digits_captured_images_total", images, why="uncertain")


def observed(capture: Capture, images: np.ndarray, confidence: float = 0.1) -> None:
    capture.of("digits", 1)(
        images, np.zeros(len(images), np.int64), np.full(len(images), confidence, np.float32)
    )


def test_uncertain_images_are_kept_once_each_with_what_was_answered(repository: Path, tmp_path: Path) -> None:
    confidences = PROBABILITIES.max(axis=1)
    below = float(np.median(confidences))
    arguments = ("--capture-dir", tmp_path / "captured", "--capture-below", below)
    with running("--model-repository", repository, *arguments) as server:
        for _ in range(2):
            server.predict(IMAGES.tobytes())
        kept(server, 10)
    folder = tmp_path / "captured" / UNLABELLED
    uncertain = {name_of(image) for image in IMAGES[confidences < below]}
    assert uncertain <= {path.name for path in folder.iterdir()}  # and by chance a sample of the others
    for image, probabilities in zip(IMAGES, PROBABILITIES, strict=True):
        path = folder / name_of(image)
        if probabilities.max() < below:
            with Picture.open(path) as picture:
                assert np.asarray(picture).tobytes() == image.tobytes()
                facts = json.loads(picture.info["digits"])
            assert facts["confidence"] == pytest.approx(probabilities.max(), abs=1e-5)
            said = {key: facts[key] for key in ("digit", "model", "version", "why")}
            digit = int(probabilities.argmax())
            assert said == {"digit": digit, "model": "digits", "version": 1, "why": "uncertain"}


def test_labelled_images_are_not_kept_again(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "captured" / "7").mkdir(parents=True)
    (tmp_path / "captured" / "7" / name_of(IMAGES[0])).write_bytes(b"labelled")
    with running(
        "--model-repository", repository, "--capture-dir", tmp_path / "captured", "--capture-below", 1
    ) as server:
        server.predict(IMAGES[:2].tobytes())
        kept(server, 1)
    names = [path.name for path in (tmp_path / "captured" / UNLABELLED).iterdir()]
    assert names == [name_of(IMAGES[1])]


def test_two_servers_share_a_folder(repository: Path, tmp_path: Path) -> None:
    arguments = (
        "--model-repository",
        repository,
        "--capture-dir",
        tmp_path / "captured",
        "--capture-below",
        1,
    )
    with running(*arguments) as first, running(*arguments) as second:
        first.predict(IMAGES[:12].tobytes())
        second.predict(IMAGES[8:].tobytes())
        kept(first, 8)
        kept(second, 8)
    names = {path.name for path in (tmp_path / "captured" / UNLABELLED).iterdir()}
    assert names == {name_of(image) for image in IMAGES}


def test_folder_that_vanishes_costs_the_images_and_no_call(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "captured"
    with running("--model-repository", repository, "--capture-dir", folder, "--capture-below", 1) as server:
        folder.rmdir()
        assert list(server.predict(IMAGES.tobytes()).digits) == PROBABILITIES.argmax(axis=1).tolist()
        event = server.event("images not captured")
        assert (event["folder"], event["reason"]) == (str(folder), "No such file or directory")
        server.reaches("digits_capture_skipped_images_total", len(IMAGES))
        assert server.metric("digits_capture_skipped_images_total", reason="failed") == len(IMAGES)
        assert not folder.exists()  # an unmounted volume's files would fill the disk below it


def test_folder_that_cannot_be_made_ends_the_start(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    server = ServerProcess("--model-repository", repository, "--capture-dir", tmp_path / "file" / "captured")
    assert server.wait() == 1
    assert server.lines == [
        f"digit-server: capture_dir {tmp_path / 'file' / 'captured'} cannot be made: Not a directory"
    ]


def test_full_folder_gives_up_old_images_ever_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FILE_BYTES", 2**20 // 4)  # room for four files
    store = Store()
    for number in range(6):
        capture = Capture(tmp_path, 0.5, 1, store)
        images = np.full((2, 784), number, np.uint8)
        images[1] += 100
        observed(capture, images)
        capture.close()
    assert len(list((tmp_path / UNLABELLED).iterdir())) == 4
    snapshot = store.read()
    assert snapshot.total(CAPTURED) + snapshot.total(CAPTURE_SKIPPED) == 12


def test_more_than_can_be_written_are_sampled_and_counted(tmp_path: Path) -> None:
    store = Store()
    capture = Capture(tmp_path, 0.5, 100, store)
    images = np.random.default_rng(1).integers(0, 256, (500, 784), np.uint8)
    observed(capture, images)
    capture.close()
    names = {path.name for path in (tmp_path / UNLABELLED).iterdir()}
    assert len(names) == MAX_UNCERTAIN
    assert names <= {name_of(image) for image in images}
    assert names != {name_of(image) for image in images[:MAX_UNCERTAIN]}
    assert store.read().total(CAPTURE_SKIPPED) == 500 - MAX_UNCERTAIN


def test_a_few_images_that_the_model_is_sure_of_are_kept_too(tmp_path: Path) -> None:
    store = Store()
    capture = Capture(tmp_path, 0.5, 100, store)
    for _ in range(10):
        observed(capture, np.random.default_rng(2).integers(0, 256, (100, 784), np.uint8), confidence=0.9)
    capture.close()
    (path,) = (tmp_path / UNLABELLED).iterdir()
    with Picture.open(path) as picture:
        assert json.loads(picture.info["digits"])["why"] == "sample"


def test_picture_is_whole() -> None:
    image = IMAGES[0]
    content = png(Image(image.tobytes(), 3, 0.25, "digits", 1, "sample"))
    with Picture.open(io.BytesIO(content)) as picture:
        picture.verify()
    with Picture.open(io.BytesIO(content)) as picture:
        assert (picture.mode, picture.size, np.asarray(picture).tobytes()) == ("L", (28, 28), image.tobytes())
