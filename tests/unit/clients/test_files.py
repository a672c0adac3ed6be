"""Files of many kinds through the commands of both programs."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clients.cli import main
from clients.testing import FakeServer, first_pixel
from protos.digits.v1 import prediction_pb2
from tests.unit.clients.data.files import BAD, DIGITS, LABELLED_FILES, UNLABELLED, X, npy
from trainer.data.dataset import load_test_images, read_images
from trainer.errors import TrainerError

Captured = pytest.CaptureFixture[str]
KNOWN = {image.tobytes(): digit for image, digit in zip(X, DIGITS.tolist(), strict=True)}


@pytest.fixture
def knowing(fake: FakeServer) -> FakeServer:
    """A server that knows the images of the files and answers 0 for others."""

    def answer(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        response = first_pixel(request)
        images = np.frombuffer(request.images, np.uint8).reshape(-1, 784)
        response.digits[:] = [KNOWN.get(image.tobytes(), 0) for image in images]
        return response

    fake.answer = answer
    return fake


@pytest.mark.parametrize("name", UNLABELLED | LABELLED_FILES)
def test_both_programs_read_every_image_of_a_file(
    name: str, knowing: FakeServer, capsys: Captured, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes((UNLABELLED | LABELLED_FILES)[name])
    assert main(["predict", str(path), "-s", knowing.address, "-o", "json"]) == 0
    answers = [json.loads(line)["digit"] for line in capsys.readouterr().out.splitlines()]
    assert answers == DIGITS.tolist()
    np.testing.assert_array_equal(read_images(path), X)


@pytest.mark.parametrize("name", UNLABELLED | LABELLED_FILES)
def test_both_programs_evaluate_a_file(
    name: str, knowing: FakeServer, capsys: Captured, tmp_path: Path
) -> None:
    path, labels = tmp_path / name, tmp_path / "labels.npy"
    path.write_bytes((UNLABELLED | LABELLED_FILES)[name])
    files = [path]
    if name in UNLABELLED:
        labels.write_bytes(npy(DIGITS))
        files.append(labels)
    assert main(["evaluate", *map(str, files), "-s", knowing.address, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["correct"] == len(DIGITS)
    _, images, digits = load_test_images(",".join(map(str, files)))
    np.testing.assert_array_equal(images, X)
    np.testing.assert_array_equal(digits, DIGITS)


@pytest.mark.parametrize("name", BAD)
def test_both_programs_refuse_a_bad_file_in_the_same_words(
    name: str, fake: FakeServer, capsys: Captured, tmp_path: Path
) -> None:
    path = tmp_path / name
    content, words = BAD[name]
    path.write_bytes(content)
    assert main(["evaluate", str(path), "-s", fake.address]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"digit-client: {path}")
    assert words in err
    assert err.count("\n") == 1
    with pytest.raises(TrainerError) as refused:
        read_images(path)
    assert words in str(refused.value)


NO_PICTURES: dict[str, tuple[bytes, str]] = {
    "random.png": (b"a\xff\xfe7", "starts with 61 ff fe 37"),
    "notes.JPG": (b"buy milk\nand honey\n", "text that starts with 'buy milk'"),
    "table.webp": (b"1,2\n3,4\n", "text that starts with '1,2'"),
}


@pytest.mark.parametrize("name", NO_PICTURES)
def test_file_named_as_a_picture_is_not_taken_for_a_table(
    name: str, fake: FakeServer, capsys: Captured, tmp_path: Path
) -> None:
    content, seen = NO_PICTURES[name]
    path = tmp_path / name
    path.write_bytes(content)
    assert main(["predict", str(path), "-s", fake.address]) == 1
    expected = f"digit-client: {path}: not a picture ({seen}), expected PNG, JPEG, ...\n"
    assert capsys.readouterr().err == expected


def drawn(*pages: int, kind: str) -> bytes:
    """Draw a picture for each number of pages: so many upright bars."""
    pictures = []
    for bars in pages:
        page = np.full((200, 400), 255, np.uint8)
        for bar in range(bars):
            page[40:160, 60 + 80 * bar : 80 + 80 * bar] = 0
        pictures.append(Image.fromarray(page))
    file = io.BytesIO()
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:])
    return file.getvalue()


def test_two_digits_are_told(fake: FakeServer, capsys: Captured, tmp_path: Path) -> None:
    (tmp_path / "two.png").write_bytes(drawn(2, kind="PNG"))
    assert main(["predict", str(tmp_path / "two.png"), "-s", fake.address]) == 0
    assert "two.png: 2 digits found, the largest is predicted; --several reads" in capsys.readouterr().err


def test_phone_photograph_with_a_second_picture_inside_is_read(
    fake: FakeServer, capsys: Captured, tmp_path: Path
) -> None:
    (tmp_path / "phone.jpg").write_bytes(drawn(1, 2, kind="MPO"))
    assert main(["predict", str(tmp_path / "phone.jpg"), "-s", fake.address]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["TIFF", "GIF"])
def test_further_pages_are_told_and_read_when_asked_for(
    kind: str, fake: FakeServer, capsys: Captured, tmp_path: Path
) -> None:
    path = tmp_path / "pages"
    path.write_bytes(drawn(1, 3, kind=kind))
    command = ["predict", str(path), "--several", "-s", fake.address, "-o", "tsv"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert "pages: 2 pages, the first is predicted; --page chooses another" in err
    assert main([*command, "--page", "2"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 4
    assert err == ""
    assert main([*command, "--page", "3"]) == 1
    assert "no page 3, the file has 2" in capsys.readouterr().err
