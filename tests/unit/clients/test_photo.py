"""A drawn digit of known shape: what is found, and that it looks like MNIST."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clients import InputError, explain, find_digits, pixels

Bytes = NDArray[np.uint8]


def seven(size: tuple[int, int] = (400, 600), *, at: tuple[int, int] = (150, 200), ink: int = 30) -> Bytes:
    """Draw a 7 of 120x200 pixels on paper of shade 220."""
    page = Image.new("L", size, 220)
    x, y = at
    ImageDraw.Draw(page).line([(x, y), (x + 120, y), (x + 40, y + 200)], fill=ink, width=24)
    return np.asarray(page)


def found(grey: Bytes) -> Bytes:
    return explain(Image.fromarray(grey)).image


def test_digit_fits_the_box_and_its_mass_is_in_the_middle() -> None:
    image = found(seven())
    rows, columns = np.nonzero(image)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in {19, 20}
    assert image.max() > 240
    assert abs((image.sum(1) @ np.arange(28)) / image.sum() - 13.5) < 1
    assert abs((image.sum(0) @ np.arange(28)) / image.sum() - 13.5) < 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _: seven(at=(20, 350)), id="moved"),
        pytest.param(lambda _: seven(ink=140), id="faint"),
        pytest.param(lambda page: 255 - page, id="negative"),
        pytest.param(lambda page: page.repeat(3, 0).repeat(3, 1), id="larger"),
        pytest.param(lambda page: (page * np.linspace(1, 0.4, page.shape[1])).astype(np.uint8), id="shaded"),
        pytest.param(
            lambda page: np.where(np.arange(page.shape[1]) > 330, page // 2, page).astype(np.uint8),
            id="shadow",
        ),
        pytest.param(
            lambda page: (
                (page + np.random.default_rng(0).normal(0, 6, page.shape)).clip(0, 255).astype(np.uint8)
            ),
            id="noisy",
        ),
    ],
)
def test_how_it_was_photographed_hardly_matters(change: Callable[[Bytes], Bytes]) -> None:
    difference = np.abs(found(change(seven())).astype(int) - found(seven()))
    assert difference.mean() < 4


def test_specks_are_left_out_and_parts_kept() -> None:
    page = seven().copy()
    plain = found(page)
    page[50:54, 50:54] = 30  # a speck
    np.testing.assert_array_equal(found(page), plain)
    page[240:250, 290:330] = 30  # a stroke of its own beside the digit
    assert found(page)[:, 20:].sum() > plain[:, 20:].sum()


def test_hairline_is_thickened() -> None:
    page = np.full((400, 300), 220, np.uint8)
    page[50:350, 150:152] = 20
    digit = explain(Image.fromarray(page))
    assert digit.image.sum(1).max() > 1.5 * 255
    assert any("thickened" in step for step in digit.steps)


def test_steps_and_box_say_what_was_done() -> None:
    digit = explain(Image.fromarray(seven()))
    assert digit.steps[0] == "dark ink on light background"
    left, top, right, bottom = digit.box
    assert abs(left - 150) < 16
    assert abs(top - 188) < 16
    assert abs(right - 285) < 16
    assert abs(bottom - 400) < 16


def test_28x28_is_taken_as_it_is_but_for_its_polarity() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[3:9, 3:9] = 200
    np.testing.assert_array_equal(found(image), image)
    np.testing.assert_array_equal(found(255 - image), image)


@pytest.mark.parametrize(
    "page",
    [
        np.full((100, 80), 200, np.uint8),
        np.zeros((3, 3), np.uint8),
        *(np.full((28, 28), shade, np.uint8) for shade in (0, 128, 255)),
        np.random.default_rng(0).normal(200, 5, (300, 200)).clip(0, 255).astype(np.uint8),  # textured
    ],
)
def test_blank_page_is_refused(page: Bytes) -> None:
    with pytest.raises(InputError, match="nothing is drawn"):
        found(page)


def test_raw_scales_the_whole_picture() -> None:
    page = np.zeros((280, 280), np.uint8)
    page[:140] = 255
    expected = np.zeros((28, 28), np.uint8)
    expected[:14] = 255
    np.testing.assert_array_equal(pixels(Image.fromarray(page), raw=True), expected.reshape(1, 784))


def test_digits_are_found_in_reading_order() -> None:
    page = np.full((900, 1000), 220, np.uint8)
    places = [(60, 100), (330, 80), (700, 110), (80, 500), (420, 520)]  # two lines
    for x, y in reversed(places):
        page[y : y + 200, x : x + 120] = seven(at=(0, 0), size=(120, 200))
    boxes = [digit.box for digit in find_digits(Image.fromarray(page))]
    assert [(round(left / 100), round(top / 100)) for left, top, _, _ in boxes] == [
        (round(x / 100), round(y / 100)) for x, y in places
    ]


def test_digits_that_touch_are_cut_apart() -> None:
    page = np.full((300, 700), 220, np.uint8)
    for left in (50, 190, 330):
        page[60:240, left : left + 30] = 20
        page[60:90, left : left + 110] = 20
        page[120:130, left : left + 145] = 20  # the bridge to the next
    assert len(find_digits(Image.fromarray(page))) == 3


def test_bar_above_a_digit_belongs_to_it() -> None:
    page = np.full((300, 400), 220, np.uint8)
    page[60:75, 150:250] = 20
    page[95:240, 160:185] = 20
    assert len(find_digits(Image.fromarray(page))) == 1


def test_bar_beside_a_5_belongs_to_it() -> None:
    page = np.full((300, 600), 220, np.uint8)
    page[70:85, 160:240] = 20
    page[75:240, 120:145] = 20
    page[60:240, 400:430] = 20  # another digit, farther away
    five, other = find_digits(Image.fromarray(page))
    assert five.box[2] >= 235
    assert other.box[0] >= 395


def test_two_wide_digits_that_touch_are_two() -> None:
    page = Image.new("L", (700, 300), 220)
    for left in (60, 250):
        ImageDraw.Draw(page).ellipse((left, 60, left + 200, 240), outline=20, width=24)
    assert len(find_digits(page)) == 2


def test_one_wide_digit_is_not_cut() -> None:
    page = Image.new("L", (500, 400), 220)
    ImageDraw.Draw(page).ellipse((100, 100, 316, 280), outline=20, width=24)
    assert len(find_digits(page)) == 1


@pytest.mark.parametrize("dark", [True, False])
def test_small_digits_beside_the_edge_of_a_shadow_are_found(dark: bool) -> None:
    y, x = np.mgrid[0:1:400j, 0:1:700j]
    light = 1 - 0.45 / (1 + np.exp((0.9 - x - y / 2) / 0.01))
    page = np.full((400, 700), 225.0)
    for left in range(150, 500, 70):
        page[280:320, left : left + 6] = page[280:286, left : left + 22] = 40
    shades = (page * light).astype(np.uint8)
    assert len(find_digits(Image.fromarray(shades if dark else 255 - shades))) == 5


def form(digits: int, *, boxes: int, comb: bool = False) -> Bytes:
    """Draw upright bars as digits into the first of some boxes."""
    pitch = 200 if comb else 230
    page = Image.new("L", (60 + boxes * 230, 320), 245)
    pen = ImageDraw.Draw(page)
    for place in range(boxes):
        left = 30 + place * pitch
        pen.rectangle([left, 60, left + 200, 260], outline=70, width=4)
        if place < digits:
            pen.line([(left + 60, 100), (left + 130, 100), (left + 90, 220)], fill=30, width=20)
    return np.asarray(page)


@pytest.mark.parametrize("comb", [False, True])
@pytest.mark.parametrize("degrees", [0, 3, -6])
def test_boxes_around_digits_are_left_out(comb: bool, degrees: float) -> None:
    page = Image.fromarray(form(4, boxes=5, comb=comb))
    digits = find_digits(page.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=245))
    assert len(digits) == 4
    assert all(digit.box[3] - digit.box[1] < 160 for digit in digits)


def test_digit_in_a_box_is_found_without_it() -> None:
    digit = explain(Image.fromarray(form(1, boxes=1)))
    assert digit.box[3] - digit.box[1] < 160


def test_digit_between_ruled_lines_is_found_without_them() -> None:
    page = seven().copy()
    plain = found(page)
    page[150:154], page[450:454] = 120, 120
    assert np.abs(found(page).astype(int) - plain).mean() < 4


@pytest.mark.parametrize(("side", "width"), [(1000, 1), (2000, 2)])
@pytest.mark.parametrize("dark", [True, False])
def test_hairlines_on_large_pictures_are_found(side: int, width: int, dark: bool) -> None:
    page = Image.new("L", (side, side), 255 if dark else 0)
    corners = [(0.3 * side, 0.2 * side), (0.7 * side, 0.2 * side), (0.45 * side, 0.8 * side)]
    ImageDraw.Draw(page).line(corners, fill=0 if dark else 255, width=width)
    digit = explain(page)
    assert abs(digit.box[3] - 0.8 * side) < 0.03 * side
    assert digit.image[:14].sum() > 20 * 255


def test_faint_ink_on_clean_paper_is_found() -> None:
    page = np.where(seven() < 100, 245, 255).astype(np.uint8)
    assert np.abs(found(page).astype(int) - found(seven())).mean() < 8


def test_digit_on_dark_graph_paper_is_found_without_the_lines() -> None:
    page = np.full((600, 400), 40, np.uint8)
    page[::40], page[:, ::40] = 75, 75
    page[seven() < 100] = 240
    assert np.abs(found(page).astype(int) - found(seven())).mean() < 8
