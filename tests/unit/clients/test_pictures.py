"""Picture files of all kinds."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clients import InputError
from clients.pictures import decode

INK = np.zeros((40, 30), bool)
INK[5:35, 12:18] = True
GREY = np.where(INK, 10, 240).astype(np.uint8)


def read(picture: Image.Image, kind: str = "PNG", **options: object) -> np.ndarray:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return decode.read_bytes(file.getvalue(), "x")


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "PNG"), ("RGB", "PNG"), ("RGB", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG"), ("P", "GIF"),
     ("L", "TIFF"), ("RGB", "WEBP"), ("L", "BMP"), ("CMYK", "TIFF")],
)  # fmt: skip
def test_modes_and_kinds_mean_the_same(mode: str, kind: str) -> None:
    shades = read(Image.fromarray(GREY).convert(mode), kind)
    assert np.abs(shades.astype(int) - GREY).mean() < 8


def test_sixteen_bits_are_reduced() -> None:
    shades = read(Image.fromarray(GREY.astype(np.uint16) * 257))
    np.testing.assert_array_equal(shades, GREY)


def test_one_bit_is_black_or_white() -> None:
    np.testing.assert_array_equal(read(Image.fromarray(GREY > 100)), np.where(INK, 0, 255))


def test_floats_are_scaled() -> None:
    shades = read(Image.fromarray((GREY / 255).astype(np.float32)), "TIFF")
    assert np.abs(shades.astype(int) - GREY).max() <= 1


@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (255, 0)])
def test_ink_on_nothing_lies_on_paper_that_shows_it(ink: int, paper: int) -> None:
    drawing = np.zeros((40, 30, 4), np.uint8)
    drawing[INK] = (ink, ink, ink, 255)
    np.testing.assert_array_equal(read(Image.fromarray(drawing)), np.where(INK, ink, paper))


def test_picture_that_the_camera_marked_as_turned_is_turned_back() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn 90 degrees clockwise to see it upright
    shades = read(Image.fromarray(GREY), "TIFF", exif=exif)
    np.testing.assert_array_equal(shades, np.rot90(GREY, -1))


def test_first_of_several_pages_is_taken_unless_another_is_asked_for() -> None:
    file = io.BytesIO()
    first, second = Image.fromarray(GREY), Image.fromarray(255 - GREY)
    first.save(file, "TIFF", save_all=True, append_images=[second])
    data = file.getvalue()
    assert decode.count_pages(data) == 2
    np.testing.assert_array_equal(decode.read_bytes(data, "x"), GREY)
    np.testing.assert_array_equal(decode.read_bytes(data, "x", page=2), 255 - GREY)
    with pytest.raises(InputError, match="x: no page 3, the file has 2"):
        decode.read_bytes(data, "x", page=3)


def test_jpeg_without_its_last_bytes_is_read() -> None:
    file = io.BytesIO()
    Image.fromarray(GREY.repeat(10, 0).repeat(10, 1)).save(file, "JPEG")
    assert decode.read_bytes(file.getvalue()[:-100], "x").shape[1] == 300


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"\0\0\0\x18ftypheic", "a HEIC photograph"), (b"%PDF-1.4", "a PDF"), (b"<svg x", "an SVG")],
)
def test_other_documents_are_called_what_they_are(data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        decode.read_bytes(data, "x")


@pytest.mark.parametrize("side", [9_000, 30_000])
def test_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    body = b"IDAT" + zlib.compress(bytes(100))  # where the rest would be
    data += struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    with pytest.raises(InputError, match=f"x: a picture of {side**2:,} pixels, expected at most 64 million"):
        decode.read_bytes(data, "x")


def test_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(2**30)  # sparse: takes no room
    with pytest.raises(InputError, match=r"huge\.png: 1,024 MiB, expected a picture of at most 64 MiB"):
        decode.load_file(path)
