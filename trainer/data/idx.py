"""IDX, the format MNIST was published in: a big-endian header, then bytes."""

import struct

import numpy as np
from numpy.typing import NDArray

from trainer.errors import TrainerError

_UNSIGNED_BYTES = b"\0\0\x08"


def parse_idx(content: bytes, source: str) -> NDArray[np.uint8]:
    """Return the array in an IDX file of unsigned bytes; raise TrainerError, naming `source`, if damaged."""
    if not content.startswith(_UNSIGNED_BYTES):
        raise TrainerError(
            f"{source}: begins with bytes {content[:4].hex(' ')}, expected IDX of unsigned bytes (00 00 08 ..)"
        )
    rank = content[3] if len(content) > len(_UNSIGNED_BYTES) else 0
    start = 4 + 4 * rank
    if rank == 0 or len(content) < start:
        raise TrainerError(f"{source}: {len(content)} bytes, expected an IDX header of {start}")
    shape = struct.unpack(f">{rank}I", content[4:start])
    expected = int(np.prod(shape, dtype=np.int64))
    if len(content) - start != expected:
        raise TrainerError(
            f"{source}: {len(content) - start} bytes of data, expected {expected} for {'x'.join(map(str, shape))}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """Return the content of an IDX file that holds the array."""
    header = _UNSIGNED_BYTES + struct.pack(f">B{array.ndim}I", array.ndim, *array.shape)
    return header + array.tobytes()
