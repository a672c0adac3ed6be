"""Every row of every file is read, or an error gives the reason."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clients import InputError
from clients.data import read, read_labels, read_pair, read_parts
from tests.unit.clients.data.files import (
    DIGITS,
    IMAGES,
    LABELLED_FILES,
    LABELS,
    X,
    Y,
    hugging_face,
    idx,
    npy,
    npz,
    text,
)  # fmt: skip

Write = Callable[[str, bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("name", LABELLED_FILES)
def test_labelled_files_are_files_of_labels_too(name: str, write: Write) -> None:
    np.testing.assert_array_equal(read_labels(write(name, LABELLED_FILES[name])), DIGITS)


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_paired_with_images(name: str, write: Write) -> None:
    images = write("images.npy", npy(X))
    data = read_pair(images, write(name, LABELS[name]))
    assert data.digits is not None
    np.testing.assert_array_equal(data.digits, DIGITS)


@pytest.mark.parametrize("array", [X / 255, (X > 100).astype(np.uint8), (X > 100).astype(np.int64)])
def test_scaled_pixels_are_told(array: np.ndarray, write: Write) -> None:
    data = read(write("x.npy", npy(array)))
    np.testing.assert_array_equal(data.images, np.rint(array * 255))
    assert "scaled to 0-255" in data.notes[0]


def test_other_numbers_of_labels_are_refused(write: Write) -> None:
    with pytest.raises(InputError, match="19 rows, expected 20 as in"):
        read_pair(write("x.npy", npy(X)), write("y.npy", npy(Y[:-1])))


@pytest.mark.parametrize("name", ["emnist-digits-test-images", "others"])
def test_transposed_images_are_turned_with_a_note(name: str, write: Write) -> None:
    many = np.concatenate([IMAGES] * 3)
    data = read(write(name, idx(many.transpose(0, 2, 1))))
    np.testing.assert_array_equal(data.images, many.reshape(-1, 784))
    assert "transposed" in data.notes[0]


def test_emnist_that_is_upright_is_left_alone(write: Write) -> None:
    many = np.concatenate([X] * 3)
    assert read(write("emnist.npy", npy(many))).notes == ()


FOLDERS = {
    "idx": {"train-images-idx3-ubyte": idx(IMAGES), "train-labels-idx1-ubyte": idx(Y),
            "t10k-images-idx3-ubyte": idx(IMAGES[:5]), "t10k-labels-idx1-ubyte": idx(Y[:5])},
    "torchvision": {f"MNIST/raw/{name}{suffix}": content for suffix in ("", ".gz") for name, content in (
                        ("train-images-idx3-ubyte", idx(IMAGES)), ("train-labels-idx1-ubyte", idx(Y)),
                        ("t10k-images-idx3-ubyte", idx(IMAGES[:5])), ("t10k-labels-idx1-ubyte", idx(Y[:5])))},
    "keras": {"mnist.npz": npz(x_train=X, y_train=Y, x_test=X[:5], y_test=Y[:5])},
    "tutorial": {"X_train.tsv": text(X, sep="\t"), "y_train.tsv": text(Y[:, None]),
                 "X_test.tsv": text(X[:5], sep="\t"), "y_test.tsv": text(Y[:5, None])},
    "tables": {"mnist_train.csv": text(np.column_stack([Y, X])),
               "mnist_test.csv": text(np.column_stack([Y, X])[:5])},
    "hugging face": {"mnist/train-00000-of-00002.parquet": hugging_face(X[:8], Y[:8]),
                     "mnist/train-00001-of-00002.parquet": hugging_face(X[8:], Y[8:]),
                     "mnist/test-00000-of-00001.parquet": hugging_face(X[:5], Y[:5])},
}  # fmt: skip


@pytest.mark.parametrize("kind", FOLDERS)
def test_both_parts_of_a_folder_are_read(kind: str, write: Write, tmp_path: Path) -> None:
    for name, content in FOLDERS[kind].items():
        write(name, content)
    parts = read_parts(tmp_path)
    assert parts.test is not None
    for part, count in ((parts.train, 20), (parts.test, 5)):
        np.testing.assert_array_equal(part.images, X[:count])
        np.testing.assert_array_equal(part.digits, Y[:count])


def test_folder_with_two_data_sets_is_refused(write: Write, tmp_path: Path) -> None:
    for name, content in (FOLDERS["keras"] | FOLDERS["tutorial"]).items():
        write(name, content)
    with pytest.raises(InputError, match=r"mnist.npz and X_train.tsv and X_test.tsv, expected one of"):
        read_parts(tmp_path)


def test_one_labelled_file_has_no_test_part(write: Write) -> None:
    parts = read_parts(write("kaggle_train.csv", LABELLED_FILES["kaggle_train.csv"]))
    assert (len(parts.train.images), parts.test) == (20, None)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone: No such file"):
        read(tmp_path / "gone")
