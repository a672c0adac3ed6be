from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data.captured import load_captured
from trainer.data.dataset import Split
from trainer.errors import TrainerError


def label(folder: Path, digit: str, images: int, size: tuple[int, int] = (28, 28)) -> None:
    (folder / digit).mkdir(parents=True)
    for number in range(images):
        Image.new("L", size, number).save(folder / digit / f"{digit}-{number}.png")


def test_labelled_images_are_read_and_a_tenth_is_held_apart(tmp_path: Path) -> None:
    label(tmp_path, "7", 200)
    label(tmp_path, "1", 5)
    label(tmp_path, "unlabelled", 3)
    label(tmp_path, "none", 2)
    captured = load_captured(tmp_path)
    again = load_captured(tmp_path)
    assert len(captured.y_train) + len(captured.y_held) == 205
    assert 8 <= len(captured.y_held) <= 35
    assert set(captured.y_train.tolist()) == {1, 7}
    held = set(captured.x_held[captured.y_held == 7, 0].tolist())
    assert not held & set(captured.x_train[captured.y_train == 7, 0].tolist())
    assert captured.sha256 == again.sha256
    assert captured.described.endswith("; 3 wait for a label")


def test_more_images_leave_those_held_apart_where_they_are(tmp_path: Path) -> None:
    label(tmp_path, "7", 100)
    before = set(load_captured(tmp_path).x_held[:, 0].tolist())
    label(tmp_path, "1", 50)
    after = load_captured(tmp_path)
    assert set(after.x_held[after.y_held == 7, 0].tolist()) == before


def test_of_a_few_images_none_is_held_apart(tmp_path: Path) -> None:
    label(tmp_path, "7", 9)
    captured = load_captured(tmp_path)
    assert (len(captured.y_train), len(captured.y_held)) == (9, 0)
    assert captured.described == "9 captured images among the training images, too few to hold any apart"
    facts = captured.measure(lambda _: np.zeros((0, 10), np.float32))
    assert (facts["test_images"], facts["right"]) == (0, 0)


def test_they_are_training_images_and_validate_nothing(tmp_path: Path) -> None:
    label(tmp_path, "7", 9)
    empty, none = np.zeros((3, 784), np.uint8), np.zeros(3, np.int64)
    split = load_captured(tmp_path).join(Split(empty, none, empty, none))
    assert (len(split.x_train), len(split.y_train), len(split.x_validation)) == (12, 12, 3)
    assert split.y_train.tolist() == [0] * 3 + [7] * 9


def test_right_answers_are_counted_on_those_held_apart(tmp_path: Path) -> None:
    label(tmp_path, "7", 100)
    captured = load_captured(tmp_path)
    sevens = np.eye(10, dtype=np.float32)[np.full(len(captured.y_held), 7)]
    assert captured.measure(lambda _: sevens)["right"] == len(captured.y_held) > 0


def test_folder_without_labels_is_named_with_what_makes_them(tmp_path: Path) -> None:
    label(tmp_path, "unlabelled", 3)
    with pytest.raises(
        TrainerError, match=r"--extra .*: no labelled images, expected PNG files .* `digit-client label`"
    ):
        load_captured(tmp_path)


def test_picture_that_is_no_image_of_a_digit_is_named(tmp_path: Path) -> None:
    label(tmp_path, "7", 1, (30, 28))
    with pytest.raises(TrainerError, match=r"7/7-0.png: 30x28 pixels, mode L, expected 28x28, mode L"):
        load_captured(tmp_path)
    (tmp_path / "7" / "7-0.png").write_bytes(b"<html>")
    with pytest.raises(TrainerError, match=r"7/7-0.png: not a picture that can be read"):
        load_captured(tmp_path)
