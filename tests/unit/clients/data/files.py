"""Good and bad files of images, read by both programs."""

import gzip
import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

Bytes = NDArray[np.uint8]
IMAGES_PER_FILE = 20


def some_images() -> Bytes:
    """Make uint8 (20, 784): bars, taller than wide, with the corners blank as MNIST's are."""
    rng = np.random.default_rng(1)
    images = np.zeros((IMAGES_PER_FILE, 28, 28), np.uint8)
    images[:, 4:24, 11:17] = rng.integers(0, 256, (IMAGES_PER_FILE, 20, 6))
    images[:, 12, 12] = 255
    return images.reshape(-1, 784)


DIGITS = np.array([7, 2, 1, 0, 4, 1, 4, 9, 5, 9, 0, 6, 9, 0, 1, 5, 9, 7, 3, 4])


def idx(array: NDArray[Any], kind: int = 8) -> bytes:
    dtype = {8: "u1", 0x0C: ">i4", 0x0D: ">f4"}[kind]
    return (
        bytes([0, 0, kind, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.astype(dtype).tobytes()
    )


def npz(**arrays: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def encrypted(archive: bytes) -> bytes:
    """Set the flag for encryption of the first member, in its own header and in the directory."""
    content = bytearray(archive)
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(magic) + flags] |= 1
    return bytes(content)


def npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def text(
    rows: NDArray[Any], header: str = "", sep: str = ",", end: str = "\n", form: Callable[[Any], str] = str
) -> bytes:
    lines = [sep.join(form(value) for value in row.tolist()) for row in np.atleast_2d(rows)]
    return (end.join(([header] if header else []) + lines) + end).encode()


def hugging_face(images: Bytes, digits: NDArray[np.int64]) -> bytes:
    cells = []
    for image in images:
        png = io.BytesIO()
        Image.fromarray(image.reshape(28, 28)).save(png, "PNG")
        cells.append({"bytes": png.getvalue(), "path": None})
    file = io.BytesIO()
    parquet.write_table(pa.table({"image": cells, "label": digits}), file)
    return file.getvalue()


def _names(prefix: str = "pixel", start: int = 0) -> str:
    return ",".join(f"{prefix}{n}" for n in range(start, 784 + start))


X, Y = some_images(), DIGITS
IMAGES = X.reshape(-1, 28, 28)
LABELLED = np.column_stack([Y, X])
COUNTED = np.column_stack([np.arange(len(X)), X])

UNLABELLED: dict[str, bytes] = {
    "t10k-images-idx3-ubyte": idx(IMAGES),
    "t10k-images.idx3-ubyte": idx(IMAGES),
    "t10k-images-idx3-ubyte.gz": gzip.compress(idx(IMAGES)),
    "gzip-without-suffix": gzip.compress(idx(IMAGES)),
    "floats.idx": idx(IMAGES, 0x0D),
    "flat.npy": npy(X),
    "channels-last.npy": npy(IMAGES[..., None]),
    "channels-first.npy": npy(IMAGES[:, None]),
    "fortran.npy": npy(np.asfortranarray(X)),
    "floats.npy": npy(X.astype(np.float64)),
    "unit-floats.npy": npy((X / 255).astype(np.float32)),
    "text.npy": npy(X.astype(str)),
    "one-array.npz": npz(arr_0=X),
    "bare.csv": text(X),
    "bom-crlf.csv": b"\xef\xbb\xbf" + text(X, end="\r\n"),
    "utf16.tsv": text(X, sep="\t").decode().encode("utf-16"),
    "semicolons.csv": text(X, sep=";"),
    "spaces.txt": text(X, sep=" "),
    "tabs-named-csv.csv": text(X, sep="\t"),
    "quoted.csv": text(X, form='"{}"'.format),
    "header.csv": text(X, _names()),
    "quoted-header.csv": text(X, ",".join(f'"pixel{n}"' for n in range(1, 785))),
    "pandas-columns.csv": text(X, ",".join(map(str, range(784)))),
    "pandas-index.csv": text(COUNTED, "," + ",".join(map(str, range(784)))),
    "index-without-header.csv": text(COUNTED),
    "point-zero.tsv": text(X.astype(float), sep="\t"),
    "exponents.csv": text(X, form="{:.3e}".format),
    "unit.tsv": text(X / 255, sep="\t", form="{:.6f}".format),
    "packed.csv": gzip.compress(text(X)),
}
LABELLED_FILES: dict[str, bytes] = {
    "kaggle_train.csv": text(LABELLED, "label," + _names()),
    "redmon.csv": text(LABELLED),
    "openml.csv": text(np.column_stack([X, Y]), ",".join(f'"pixel{n}"' for n in range(1, 785)) + ',"class"'),
    "openml-quotes.csv": text(
        np.column_stack([X.astype(str), [f"'{d}'" for d in Y]]), _names(start=1) + ",class"
    ),
    "label-last.csv": text(np.column_stack([X, Y])),
    "index-and-label.csv": text(np.column_stack([np.arange(len(X)), LABELLED]), ",label," + _names()),
    "label-and-numbers.csv": text(LABELLED, "label," + ",".join(map(str, range(784)))),
    "keras.npz": npz(x_train=IMAGES[:3], y_train=Y[:3], x_test=IMAGES, y_test=Y),
    "capitals.npz": npz(X_train=X[:3], Y_train=Y[:3], X_test=X, Y_test=Y),
    "words.npz": npz(images=X, labels=Y),
    "test_words.npz": npz(test_images=X, test_labels=Y),
    "short.npz": npz(x=X, y=Y),
    "string-labels.npz": npz(x=X, y=Y.astype(str)),
    "one-hot.npz": npz(x=X, y=np.eye(10)[Y]),
    "mnist.parquet": hugging_face(X, Y),
}
LABELS: dict[str, bytes] = {
    "t10k-labels-idx1-ubyte": idx(Y),
    "qmnist-labels-idx2-int": idx(np.column_stack([Y, np.full((len(Y), 7), 99)]), 0x0C),
    "y.npy": npy(Y),
    "one-hot.npy": npy(np.eye(10, dtype=np.uint8)[Y]),
    "bytes.npy": npy(Y.astype("S")),
    "y.tsv": text(Y[:, None]),
    "header.csv": text(Y[:, None], "digit"),
    "quoted.csv": text(Y[:, None], '"digit"', form='"{}"'.format),
    "quoted-bare.csv": text(Y[:, None], form='"{}"'.format),
    "series-index.csv": text(np.column_stack([np.arange(len(Y)), Y]), ",0"),
    "one-hot.csv": text(np.eye(10, dtype=int)[Y]),
    "series-header.csv": text(Y[:, None], "0"),  # a row more than images
}


def _changed(row: int, column: int, value: str) -> bytes:
    rows = X.astype(object).copy()
    rows[row, column] = value
    return text(rows)


def _with_blank_lines(rows: bytes) -> bytes:
    """Put a blank line before the first row, and one before the last."""
    lines = rows.splitlines(keepends=True)
    return b"\n" + b"".join(lines[:-1]) + b"\n" + lines[-1]


BAD: dict[str, tuple[bytes, str]] = {
    "bad-first-cell.csv": (_changed(0, 3, "x"), "row 1, column 4 is 'x', expected a number"),
    "bad-cell.csv": (_changed(7, 783, "b"), "row 8, column 784 is 'b', expected a number"),
    "nan.csv": (_changed(2, 0, "nan"), "row 3, column 1 is nan, expected a pixel"),
    "large.csv": (_changed(4, 9, "256"), "row 5, column 10 is 256, expected a pixel"),
    "short-row.csv": (text(X) + b"1,2\n", "row 21 has 2 columns, expected 784"),
    "blanks-cell.csv": (_with_blank_lines(_changed(19, 3, "x")), "row 22, column 4 is 'x'"),
    "blanks-value.csv": (_with_blank_lines(_changed(19, 9, "256")), "row 22, column 10 is 256"),
    "blanks-row.csv": (_with_blank_lines(text(X) + b"1,2\n"), "row 23 has 2 columns, expected 784"),
    "blanks-spaces.txt": (
        _with_blank_lines(text(X.astype(object), "p q").replace(b",", b" ") + b"x\n"),
        "row 24 has 1 columns",
    ),
    "columns.csv": (text(X[:, 1:]), "783 columns, expected 784"),
    "ambiguous.csv": (
        text(np.column_stack([np.full(20, 3), X[:, 1:], np.full(20, 4)])),
        "the first or the last",
    ),
    "normalized.npy": (npy((X / 127.5 - 1).astype(np.float32)), "as if normalized"),
    "word.npy": (npy(np.where(np.arange(20)[:, None] == 7, "x", X.astype(str))), "row 8 is 'x', expected a"),
    "shape.npy": (npy(np.zeros((3, 27, 28))), "shape 3x27x28, expected 784"),
    "colour.npy": (npy(np.zeros((3, 28, 28, 3), np.uint8)), "shape 3x28x28x3"),
    "objects.npy": (npy(np.array([{}], object)), "Python objects, which could run code"),
    "two-keys.npz": (npz(x=X, images=X), "images may be x or images"),
    "medmnist.npz": (npz(train_images=X, val_images=X, test_images=X), "MedMNIST"),
    "no-key.npz": (npz(a=X, b=X, c=X), "holds a, b, c; expected"),
    "lengths.npz": (npz(x=X, y=Y[:-1]), "20 images and 19 labels"),
    "encrypted.npz": (encrypted(npz(x=X)), "File 'x.npy' is encrypted"),
    "letters.npz": (npz(x=X, y=Y + 1), "row 8 is 10, expected a digit 0-9"),
    "ends.idx": (idx(IMAGES)[:-1], "ends after 19 whole rows, its header says 20"),
    "goes-on.idx": (idx(IMAGES) + b"\0", "goes on after the 20 rows"),
    "cut.gz": (gzip.compress(idx(IMAGES))[:-300], "damaged gzip"),
    "empty.csv": (b"", "empty file"),
    "header-only.csv": (_names().encode(), "a header and no rows"),
    "page.gz": (b"<!DOCTYPE html><html>404</html>", "a web page; download the file itself"),
    "pointer.npz": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
    "emnist-digits.mat": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "a MATLAB file; read it with scipy"),
    "labels-only.idx": (idx(Y), "labels only, expected images"),
}
