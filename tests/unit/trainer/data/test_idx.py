import numpy as np
import pytest

from trainer.data.idx import idx_bytes, parse_idx
from trainer.errors import TrainerError


def test_array_comes_back_with_its_shape() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.testing.assert_array_equal(parse_idx(idx_bytes(array), "file"), array)


def test_header_is_the_published_one() -> None:
    assert idx_bytes(np.zeros((1, 28, 28), np.uint8))[:16] == bytes.fromhex(
        "00000803 00000001 0000001c 0000001c"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello, world", "begins with bytes 68 65 6c 6c, expected IDX of unsigned bytes"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "begins with bytes 00 00 0d 01, expected IDX of unsigned bytes"),
        (b"\0\0\x08\x03\0\0", "6 bytes, expected an IDX header of 16"),
        (idx_bytes(np.zeros(5, np.uint8))[:-1], "4 bytes of data, expected 5 for 5"),
        (idx_bytes(np.zeros(5, np.uint8)) + b"\0", "6 bytes of data, expected 5 for 5"),
    ],
)
def test_damaged_content_is_refused_with_what_was_expected(content: bytes, message: str) -> None:
    with pytest.raises(TrainerError) as refused:
        parse_idx(content, "file")
    assert str(refused.value).startswith(f"file: {message}")
