import numpy as np
import pytest

from trainer.data.values import Values, digits_from, images_from, pair
from trainer.errors import TrainerError


def blank(n: int = 3) -> np.ndarray:
    return np.zeros((n, 784), np.int16)


@pytest.mark.parametrize("shape", [(2, 784), (2, 28, 28), (2, 28, 28, 1)])
def test_images_become_rows_of_784_bytes(shape: tuple[int, ...]) -> None:
    images = images_from(Values(np.full(shape, 255, np.float32), "x"))
    assert images.shape == (2, 784)
    assert images.dtype == np.uint8
    assert images.min() == 255


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (256, np.int16, "X.tsv: row 3, column 8 is 256, expected a pixel, a whole number 0-255"),
        (-1, np.int16, "X.tsv: row 3, column 8 is -1, expected a pixel"),
        (0.5, np.float32, "X.tsv: row 3, column 8 is 0.5, expected a pixel"),
        (np.nan, np.float32, "X.tsv: row 3, column 8 is nan, expected a pixel"),
    ],
)
def test_number_that_is_no_pixel_is_named(value: float, dtype: type, message: str) -> None:
    array = blank().astype(dtype)
    array[1, 7] = array[2, 0] = value
    with pytest.raises(TrainerError) as refused:
        images_from(Values(array, "X.tsv", first_row=2))
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5, 783), "x: 783 columns, expected 784 pixels"),
        ((5, 785), "x: 785 columns, expected 784 pixels"),
        ((5, 28, 27), "x: shape 5x28x27, expected 784 pixels"),
        ((0, 784), "x: no images"),
    ],
)
def test_rows_that_are_no_images_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(TrainerError, match=message):
        images_from(Values(np.zeros(shape, np.uint8), "x"))


def test_digits_come_from_one_column_or_ten() -> None:
    digits = [3, 0, 9]
    for array in (
        np.array(digits, np.uint8),
        np.array([[3.0], [0.0], [9.0]]),
        np.eye(10, dtype=np.int16)[digits],
    ):
        result = digits_from(Values(array, "y"))
        assert result.tolist() == digits
        assert result.dtype == np.int64


@pytest.mark.parametrize(
    ("array", "message"),
    [
        ([[3], [10]], "y: row 2 is 10, expected a digit 0-9"),
        ([[3], [-1]], "y: row 2 is -1, expected a digit 0-9"),
        ([[0, 1], [1, 0]], "y: 2 columns, expected one digit or ten one-hot columns"),
        ([[1] + [0] * 9, [0] * 10], "y: row 2 has 0 ones, expected a single 1"),
        ([[1] + [0] * 9, [1, 1] + [0] * 8], "y: row 2 has 2 ones, expected a single 1"),
        ([[2] + [0] * 9], "y: row 1, column 1 is 2, expected 0 or 1"),
    ],
)
def test_label_that_is_no_digit_is_named(array: list[list[int]], message: str) -> None:
    with pytest.raises(TrainerError, match=message):
        digits_from(Values(np.array(array, np.int16), "y"))


def test_unequal_row_counts_name_both_files() -> None:
    with pytest.raises(TrainerError, match="y: 2 rows, expected 3 as in x"):
        pair(Values(blank(3), "x"), Values(np.zeros(2), "y"))
