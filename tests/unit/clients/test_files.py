"""Files of many kinds through the commands of both programs."""

from pathlib import Path

import numpy as np
import pytest

from clients.testing import FakeServer, first_pixel
from protos.digits.v1 import prediction_pb2
from tests.unit.clients.conftest import Run
from tests.unit.clients.data.files import BAD, DIGITS, LABELLED_FILES, UNLABELLED, X, npy
from trainer.data.dataset import load_test_images, read_images
from trainer.errors import TrainerError

KNOWN = {image.tobytes(): digit for image, digit in zip(X, DIGITS.tolist(), strict=True)}


@pytest.fixture
def knowing(fake: FakeServer) -> None:
    """The server knows the images of the files, and answers 0 for others."""

    def answer(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        response = first_pixel(request)
        images = np.frombuffer(request.images, np.uint8).reshape(-1, 784)
        response.digits[:] = [KNOWN.get(image.tobytes(), 0) for image in images]
        return response

    fake.answer = answer


@pytest.mark.usefixtures("knowing")
@pytest.mark.parametrize("name", UNLABELLED | LABELLED_FILES)
def test_both_programs_read_every_image_of_a_file(name: str, run: Run, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes((UNLABELLED | LABELLED_FILES)[name])
    ended = run("predict", path, "-o", "json")
    assert ended.code == 0
    assert [answer["digit"] for answer in ended.records] == DIGITS.tolist()
    np.testing.assert_array_equal(read_images(path), X)


@pytest.mark.usefixtures("knowing")
@pytest.mark.parametrize("name", UNLABELLED | LABELLED_FILES)
def test_both_programs_evaluate_a_file(name: str, run: Run, tmp_path: Path) -> None:
    path, labels = tmp_path / name, tmp_path / "labels.npy"
    path.write_bytes((UNLABELLED | LABELLED_FILES)[name])
    files = [path]
    if name in UNLABELLED:
        labels.write_bytes(npy(DIGITS))
        files.append(labels)
    (record,) = run("evaluate", *files, "-o", "json").records
    assert record["correct"] == len(DIGITS)
    _, images, digits = load_test_images(",".join(map(str, files)))
    np.testing.assert_array_equal(images, X)
    np.testing.assert_array_equal(digits, DIGITS)


@pytest.mark.parametrize("name", BAD)
def test_both_programs_refuse_a_bad_file_in_the_same_words(name: str, run: Run, tmp_path: Path) -> None:
    path = tmp_path / name
    content, words = BAD[name]
    path.write_bytes(content)
    code, _, err = run("evaluate", path)
    assert code == 1
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
def test_file_named_as_a_picture_is_not_taken_for_a_table(name: str, run: Run, tmp_path: Path) -> None:
    content, seen = NO_PICTURES[name]
    path = tmp_path / name
    path.write_bytes(content)
    ended = run("predict", path)
    assert ended.code == 1
    assert ended.err == f"digit-client: {path}: not a picture ({seen}), expected PNG, JPEG, ...\n"
