import errno
import resource
from pathlib import Path

import pytest

from trainer.errors import writing
from trainer.run import write_durably


def test_full_disk_is_named() -> None:
    with (
        pytest.raises(OSError, match="No space left") as caught,
        writing(Path("run")),
        Path("/dev/full").open("wb") as file,
    ):
        file.write(b"content")
    assert caught.value.filename == "run"


def test_name_that_an_error_has_stays() -> None:
    with pytest.raises(FileNotFoundError) as caught, writing(Path("run")):
        Path("/nonesuch/file").read_bytes()
    assert caught.value.filename == "/nonesuch/file"


def test_file_that_does_not_fit_is_named_and_the_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    write_durably(path, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            write_durably(path, b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.npz"]
    assert path.read_bytes() == b"old"
