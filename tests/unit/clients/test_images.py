import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from clients import InputError
from clients.images import doubt, pixels

RAMP = (np.arange(784) % 256).astype(np.uint8)


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, lossless=True) if kind == "WEBP" else image.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_28x28_picture_of_a_lossless_kind_is_taken_as_it_is(kind: str) -> None:
    data = encoded(Image.fromarray(RAMP.reshape(28, 28)), kind)
    np.testing.assert_array_equal(pixels(data), [RAMP])


def test_path_may_be_text_or_path(tmp_path: Path) -> None:
    path = tmp_path / "ramp.png"
    Image.fromarray(RAMP.reshape(28, 28)).save(path)
    np.testing.assert_array_equal(pixels([path, str(path)]), [RAMP, RAMP])


@pytest.mark.parametrize("shape", [(784,), (28, 28), (1, 784), (1, 28, 28), (28, 28, 1), (1, 28, 28, 1)])
def test_shapes_of_28x28_images_mean_the_same(shape: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(pixels(RAMP.reshape(shape)), [RAMP])


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.uint32, np.float16, np.float32, np.float64])
def test_values_up_to_255_are_taken_as_they_are(dtype: type) -> None:
    np.testing.assert_array_equal(pixels(RAMP.astype(dtype)), [RAMP])


@given(arrays(np.uint8, (2, 784), elements=st.integers(0, 255)))
def test_floats_from_0_to_1_are_scaled_back_exactly(images: np.ndarray) -> None:
    images[0, 0] = 255
    np.testing.assert_array_equal(pixels(images / 255), images)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_whole_numbers_of_0_and_1_are_scaled_with_a_warning(dtype: type) -> None:
    with pytest.warns(UserWarning, match="array: pixels 0 and 1, scaled to 0-255"):
        images = pixels((RAMP > 127).astype(dtype))
    np.testing.assert_array_equal(images, [np.where(RAMP > 127, 255, 0)])
    np.testing.assert_array_equal(pixels(np.zeros(784, dtype)), np.zeros((1, 784)))


def test_booleans_are_ink_or_not() -> None:
    np.testing.assert_array_equal(pixels(RAMP > 127), [np.where(RAMP > 127, 255, 0)])


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.zeros((27, 28)), r"array has shape \(27, 28\), expected"),
        (np.zeros((0, 784)), r"array has shape \(0, 784\)"),
        (np.full(784, -1), "array: row 1, column 1 is -1, expected a pixel, 0-255"),
        (np.full(784, 256), "row 1, column 1 is 256, expected a pixel"),
        (np.full(784, np.nan), "row 1, column 1 is nan, expected a pixel"),
        (np.full(784, "x"), "array: row 1 is 'x', expected a pixel"),
    ],
)
def test_array_that_is_no_image_is_refused(array: np.ndarray, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        pixels(array)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "bytes: not a picture .it is empty"),
        (b"hello there\nworld", "not a picture .text that starts with 'hello there'"),
        (b"\xff\x00\xfe\x01", "not a picture .starts with ff 00 fe 01"),
        (encoded(Image.effect_noise((100, 100), 50), "PNG")[:900], "damaged picture"),
    ],
)
def test_bytes_that_are_no_picture_are_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        pixels(data)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png: No such file"):
        pixels(tmp_path / "gone.png")


def test_bad_image_in_a_list_is_numbered() -> None:
    with pytest.raises(InputError, match="image 1 has shape"):
        pixels([RAMP, RAMP[:-1]])


def test_doubt_of_all_digits_is_said_to_be_none() -> None:
    image = np.where(np.arange(784) < 80, 255, 0).astype(np.uint8)
    shared = [0.06] * 8 + [0.39, 0.13]
    assert doubt(image, shared) == "probably not a digit: 8 (39 %) or 9 (13 %)"


@pytest.mark.parametrize(
    ("inked", "seven", "words"),
    [
        (80, 0.9, ""),
        (80, 0.64, "not sure: 7 (64 %) or 2 (36 %)"),
        (5, 1.0, "not a digit"),
        (600, 1.0, "not a digit"),
    ],
)
def test_doubt_is_named_by_ink_and_confidence(inked: int, seven: float, words: str) -> None:
    image = np.where(np.arange(784) < inked, 255, 0).astype(np.uint8)
    assert doubt(image, [0, 0, 1 - seven, 0, 0, 0, 0, seven, 0, 0]) == words
