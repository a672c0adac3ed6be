import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clients.testing import FakeServer, first_pixel
from protos.digits.v1 import prediction_pb2
from tests.unit.clients.conftest import Digits, Run


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, digit_images: Digits, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a picture of each kind of answer."""
    monkeypatch.chdir(tmp_path)
    for digit in (1, 2):
        Image.fromarray(digit_images(3)[digit].reshape(28, 28)).save(f"{digit}.png")
    return tmp_path


def drawn(*pages: int, kind: str = "PNG") -> bytes:
    """Draw a picture for each number of pages: so many upright bars, which the server calls 0."""
    pictures = []
    for bars in pages:
        page = np.full((200, 400), 255, np.uint8)
        for bar in range(bars):
            page[40:160, 60 + 80 * bar : 80 + 80 * bar] = 0
        pictures.append(Image.fromarray(page))
    file = io.BytesIO()
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:])
    return file.getvalue()


def test_json_is_one_object_a_line(run: Run) -> None:
    assert run("predict", "2.png", "1.png", "--output", "json").records == [
        {"file": "2.png", "digit": 2, "confidence": 0.75, "model": "digits", "version": 3},
        {"file": "1.png", "digit": 1, "confidence": 0.75, "model": "digits", "version": 3},
    ]


def test_table_is_aligned_and_shows_doubt(fake: FakeServer, run: Run) -> None:
    def answer(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        response = first_pixel(request)
        if response.digits[0] == 1:
            response.confidences[:] = [0.9]
            response.probabilities[:] = [0.1, 0.9] + [0.0] * 8
        return response

    fake.answer = answer
    assert run("predict", "1.png", "2.png").out == (
        "file   digit  confidence  model\n"
        "1.png      1      0.9000  digits/3\n"
        "2.png      2      0.7500  digits/3  not sure: 2 (75 %) or 0 (3 %)\n"
    )


def test_tsv_has_a_head_and_tabs(run: Run) -> None:
    out = run("predict", "1.png", "--output", "tsv").out
    assert out == "file\tdigit\tconfidence\tmodel\n1.png\t1\t0.7500\tdigits/3\n"


def test_idx_images_have_an_index(run: Run, digit_images: Digits, idx_file: Callable[..., Path]) -> None:
    path = idx_file(digit_images(300).reshape(-1, 28, 28))
    answers = run("predict", path, "--count", 290, "-o", "json").records
    assert [(a["file"], a["index"], a["digit"]) for a in answers] == [
        (str(path), n, n % 10) for n in range(290)
    ]


def test_show_draws_the_image(run: Run) -> None:
    image = np.zeros((28, 28), np.uint8)
    image[0, 0], image[0:2, 1], image[1, 2] = 255, 255, 255
    Image.fromarray(image).save("dots.png")
    lines = run("predict", "dots.png", "--show").out.splitlines()
    assert lines[0].startswith("▀█▄")
    assert any("digit       5" in line for line in lines)


def test_bad_file_is_reported_and_the_others_answered(run: Run) -> None:
    Path("notes.png").write_text("buy milk\nand honey\n")
    ended = run("predict", "notes.png", "1.png", "-o", "json")
    assert ended.code == 1
    assert [answer["digit"] for answer in ended.records] == [1]
    assert ended.err.startswith("digit-client: notes.png: ")
    assert ended.err.count("\n") == 1


def test_folder_pattern_and_stdin_are_read(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "more").mkdir()
    Path("1.png").rename(folder / "more" / "1.png")
    (folder / "more" / ".hidden").write_text("not to be read")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path("2.png").read_bytes())))
    answers = run("predict", "more", "?.png", "-", "-o", "json").records
    assert [(a["file"], a["digit"]) for a in answers] == [("more/1.png", 1), ("2.png", 2), ("-", 2)]


def test_explain_shows_all_probabilities_and_what_was_done(run: Run) -> None:
    Path("photo.png").write_bytes(drawn(1))
    out = run("predict", "photo.png", "--explain").out
    assert out.count("%") == 10
    assert "75.0%" in out
    assert "  - dark ink on light background" in out
    (record,) = run("predict", "photo.png", "--explain", "-o", "json").records
    assert len(record["probabilities"]) == 10


def test_several_digits_have_boxes_and_make_a_number(run: Run) -> None:
    Path("code.png").write_bytes(drawn(3))
    Path("1.png").write_bytes(drawn(1))
    assert run("predict", "code.png", "1.png", "--several").out == (
        "code.png  000    (lowest 0.7500, digit 1 not sure: 0 (75 %) or 1 (3 %))\n"
        "1.png     0      (lowest 0.7500, digit 1 not sure: 0 (75 %) or 1 (3 %))\n"
    )
    answers = run("predict", "code.png", "--several", "-o", "json").records
    assert [round(answer["box"][0] / 10) for answer in answers] == [6, 14, 22]
    ended = run("predict", "code.png", "-o", "json")
    assert len(ended.records) == 1
    assert "code.png: 3 digits found, the largest is predicted; --several reads all of them" in ended.err


def test_phone_photograph_with_a_second_picture_inside_is_read(run: Run) -> None:
    Path("phone.jpg").write_bytes(drawn(1, 2, kind="MPO"))
    ended = run("predict", "phone.jpg")
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("kind", ["TIFF", "GIF"])
def test_further_pages_are_told_and_read_when_asked_for(kind: str, run: Run) -> None:
    Path("pages").write_bytes(drawn(1, 3, kind=kind))
    command = ["predict", "pages", "--several", "-o", "json"]
    first = run(*command)
    assert len(first.records) == 1
    assert "pages: 2 pages, the first is predicted; --page chooses another" in first.err
    second = run(*command, "--page", 2)
    assert len(second.records) == 3
    assert second.err == ""
    third = run(*command, "--page", 3)
    assert third.code == 1
    assert "no page 3, the file has 2" in third.err


def test_file_whose_name_starts_with_a_hyphen_is_read(run: Run) -> None:
    Path("2.png").rename("-7.png")
    assert run("predict", "-o", "json", "--", "-7.png").records[0]["file"] == "-7.png"


def test_model_version_and_label_are_asked_for(fake: FakeServer, run: Run) -> None:
    run("predict", "1.png", "--model", "fast", "--model-version", 2, "--label", "canary")
    assert (fake.requests[0].model, fake.requests[0].version, fake.requests[0].label) == ("fast", 2, "canary")


@pytest.mark.parametrize("where", ["empty", "no/*.png"])
def test_nothing_to_read_is_named(run: Run, folder: Path, where: str) -> None:
    (folder / "empty").mkdir()
    ended = run("predict", where)
    assert ended.code == 1
    assert f"{where}: no files there" in ended.err
