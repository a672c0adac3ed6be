import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from trainer.data.convert import FORMATS, convert
from trainer.data.dataset import Dataset
from trainer.data.source import load_data
from trainer.errors import TrainerError


def assert_same(one: Dataset, other: Dataset) -> None:
    for part in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(one, part), getattr(other, part))
    assert one.sha256 == other.sha256


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_that_is_written_is_read(form: str, small: Dataset, tmp_path: Path) -> None:
    convert(small, tmp_path / "d", form)  # type: ignore[arg-type]  # FORMATS are its values
    dataset = load_data(str(tmp_path / "d"))
    assert_same(dataset, small)
    assert dataset.name == "d"


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("one_hot", [False, True])
def test_tables_are_read_with_and_without_header_and_one_hot(
    header: bool, one_hot: bool, small: Dataset, tmp_path: Path
) -> None:
    convert(small, tmp_path, "csv", header=header, one_hot=one_hot)
    first = (tmp_path / "y_train.csv").read_text().splitlines()[0]
    assert first.startswith("digit") == header
    assert len(first.split(",")) == (10 if one_hot else 1)
    assert_same(load_data(str(tmp_path)), small)


def test_format_is_found_by_content_and_not_by_name(small: Dataset, tmp_path: Path) -> None:
    convert(small, tmp_path / "idx", "idx")
    convert(small, tmp_path / "tsv", "tsv")
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    shutil.copy(tmp_path / "idx/train-images-idx3-ubyte", mixed / "X_train.tsv")
    (mixed / "y_train.csv").write_bytes(gzip.compress((tmp_path / "tsv/y_train.tsv").read_bytes()))
    shutil.copy(tmp_path / "tsv/X_test.tsv", mixed / "x_test.csv.gz")
    shutil.copy(tmp_path / "tsv/y_test.tsv", mixed / "y_test")
    assert_same(load_data(str(mixed)), small)


def test_four_files_may_be_named_one_by_one(small: Dataset, tmp_path: Path) -> None:
    files = convert(small, tmp_path, "tsv")
    assert_same(load_data(",".join(map(str, files))), small)


def test_npz_may_be_named_as_a_file(small: Dataset, tmp_path: Path) -> None:
    (path,) = convert(small, tmp_path, "npz")
    assert_same(load_data(str(path.rename(tmp_path / "other.npz"))), small)


def test_other_names_of_the_idx_files_are_known(small: Dataset, tmp_path: Path) -> None:
    for path in convert(small, tmp_path, "idx"):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert_same(load_data(str(tmp_path)), small)


@pytest.mark.mnist
def test_all_of_mnist_is_recognized_in_any_packing(mnist_dir: Path, tmp_path: Path) -> None:
    dataset = load_data(str(mnist_dir))
    assert (dataset.name, len(dataset.y_train), len(dataset.y_test)) == ("mnist", 60_000, 10_000)
    assert np.bincount(dataset.y_test)[:2].tolist() == [980, 1135]
    convert(dataset, tmp_path / "tsv", "tsv")
    assert load_data(str(tmp_path / "tsv")).name == "mnist"


def write_tables(folder: Path, **changes: str) -> Path:
    row = "\t".join(["0"] * 784)
    contents = {"X_train": f"{row}\n{row}\n", "y_train": "1\n2\n", "X_test": f"{row}\n", "y_test": "3\n"}
    for name, text in (contents | changes).items():
        (folder / f"{name}.tsv").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"X_train": "\t".join(["0"] * 783) + "\n"}, "X_train.tsv: 783 columns, expected 784"),
        (
            {"X_test": "\t".join(["0"] * 783 + ["256"]) + "\n"},
            "X_test.tsv: row 1, column 784 is 256, expected a pixel",
        ),
        (
            {"X_test": "\t".join(["0"] * 783 + ["b"]) + "\n"},
            "X_test.tsv: row 1, column 784 is 'b', expected a number",
        ),
        ({"y_train": "1\n10\n"}, "y_train.tsv: row 2 is 10, expected a digit 0-9"),
        ({"y_train": "digit\n1\n2\n3\n"}, "y_train.tsv: 3 rows, expected 2 as in"),
        ({"X_train": ""}, "X_train.tsv: empty file, expected IDX, npz or a table"),
        ({"X_train": "a\tb\n"}, "X_train.tsv: a header and no rows"),
    ],
)
def test_bad_table_is_named_with_row_and_rule(changes: dict[str, str], message: str, tmp_path: Path) -> None:
    write_tables(tmp_path, **changes)
    with pytest.raises(TrainerError) as refused:
        load_data(str(tmp_path))
    assert str(refused.value).startswith(f"{tmp_path}/{message}")


def test_truncated_gzip_is_named(small: Dataset, tmp_path: Path) -> None:
    path = convert(small, tmp_path, "idx-gz")[0]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TrainerError, match=r"train-images-idx3-ubyte.gz: damaged gzip"):
        load_data(str(tmp_path))


def test_truncated_gzip_of_a_table_is_named(small: Dataset, tmp_path: Path) -> None:
    path = convert(small, tmp_path, "tsv")[0]
    path.write_bytes(gzip.compress(path.read_bytes())[:-20])
    with pytest.raises(TrainerError, match=r"X_train.tsv: damaged gzip"):
        load_data(str(tmp_path))


def test_damaged_npz_is_named(small: Dataset, tmp_path: Path) -> None:
    (path,) = convert(small, tmp_path, "npz")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(TrainerError, match=r"mnist.npz: damaged npz"):
        load_data(str(tmp_path))


def test_npz_with_other_arrays_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist.npz", images=np.zeros(3))
    with pytest.raises(
        TrainerError, match="holds images, expected the arrays x_train, y_train, x_test, y_test"
    ):
        load_data(str(tmp_path))


def test_npz_with_python_objects_in_it_is_not_run(tmp_path: Path) -> None:
    objects = np.array([{}], dtype=object)
    np.savez(tmp_path / "mnist.npz", x_train=objects, y_train=objects, x_test=objects, y_test=objects)
    with pytest.raises(TrainerError, match=r"mnist.npz: damaged npz: Object arrays cannot be loaded"):
        load_data(str(tmp_path))


def test_picture_is_no_data(tmp_path: Path) -> None:
    write_tables(tmp_path)
    (tmp_path / "X_train.tsv").write_bytes(b"\x89P\0\0 not a table")
    with pytest.raises(TrainerError, match="begins with bytes 89 50 00 00, expected IDX, npz or a table"):
        load_data(str(tmp_path))


def test_missing_file_of_four_is_named(tmp_path: Path) -> None:
    (write_tables(tmp_path) / "y_test.tsv").unlink()
    with pytest.raises(TrainerError, match="y_test: none, expected one such file"):
        load_data(str(tmp_path))


def test_two_files_for_one_part_are_refused(tmp_path: Path) -> None:
    (write_tables(tmp_path) / "X_train.csv").write_text("1")
    with pytest.raises(TrainerError, match=r"X_train: X_train.csv, X_train.tsv, expected one such file"):
        load_data(str(tmp_path))


def test_two_data_sets_in_one_folder_are_refused(small: Dataset, tmp_path: Path) -> None:
    convert(small, tmp_path, "npz")
    convert(small, tmp_path, "idx")
    with pytest.raises(
        TrainerError, match=r"mnist.npz and train-images-idx3-ubyte in this folder, expected one of"
    ):
        load_data(str(tmp_path))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "--data nowhere: no such file or folder, expected sample, mnist, a folder"),
        (".,.", "--data .,.: 2 files, expected sample, mnist, a folder"),
    ],
)
def test_source_that_names_nothing_says_what_may_be_named(source: str, message: str) -> None:
    with pytest.raises(TrainerError) as refused:
        load_data(source)
    assert str(refused.value).startswith(message)


def test_folder_without_data_says_what_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="no data set in this folder, expected one of: four IDX files"):
        load_data(str(tmp_path))


def test_disk_that_is_full_is_named_and_left_without_half_a_file(
    small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def on_full_disk(path: Path, mode: str) -> object:
        opened(path, mode).close()
        return opened(Path("/dev/full"), "wb")

    monkeypatch.setattr(Path, "open", on_full_disk)
    with pytest.raises(TrainerError, match="cannot write: No space left on device"):
        convert(small, tmp_path, "idx")
    assert not list(tmp_path.iterdir())


def test_convert_overwrites_nothing(small: Dataset, tmp_path: Path) -> None:
    convert(small, tmp_path, "tsv")
    before = (tmp_path / "X_train.tsv").read_bytes()
    with pytest.raises(TrainerError, match=r"X_train.tsv: is there already"):
        convert(small, tmp_path, "tsv", header=True)
    assert (tmp_path / "X_train.tsv").read_bytes() == before
