from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data.dataset import Dataset
from trainer.data.describe import describe, description_text, save_picture, sketch
from trainer.data.sample import load_sample
from trainer.errors import TrainerError


def test_counts_are_the_data_sets(small: Dataset) -> None:
    x_test = small.x_test.copy()
    x_test[0] = small.x_train[4]
    x_test[1] = x_test[2] = 0
    described = describe(replace(small, x_test=x_test))
    assert (described.train.images, described.test.images) == (30, 20)
    assert described.train.digits == (3,) * 10
    assert described.shared_images == 1
    assert described.test.blank_images == 2
    assert described.test.repeated_images == 1
    assert described.train.ink == pytest.approx(small.x_train.mean() / 255)


def test_text_has_a_line_a_digit(small: Dataset) -> None:
    text = description_text(describe(small))
    assert small.sha256 in text
    assert "digit 9                 3   10.0%        2   10.0%" in text


def test_sketch_fits_a_terminal_and_shows_ink() -> None:
    lines = sketch(load_sample()).splitlines()
    assert len(lines) == 14
    assert max(map(len, lines)) <= 80
    assert set("".join(lines)) == set(" ▀▄█")


def test_picture_is_dark_ink_on_white_a_row_a_digit(small: Dataset, tmp_path: Path) -> None:
    save_picture(tmp_path / "sheet.png", small)
    pixels = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert pixels[0].min() == 255
    assert pixels.shape[0] == 2 * (10 * 32 + 4)
    tile = pixels[8:64:2, 8:64:2].astype(int)
    assert abs(tile.mean() - (255 - small.x_train[0].mean())) < 10


def test_picture_that_cannot_be_written_is_named(small: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"no/sheet.png: cannot write the picture: No such file"):
        save_picture(tmp_path / "no" / "sheet.png", small)
