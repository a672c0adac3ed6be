"""Decoding of PNG and JPEG pictures, as `digit-client` does, on threads beside the data plane."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from protos import inference_pb2 as pb
from server.errors import InvalidRequestError, OverloadedError, cut
from server.machine import cpus, give_way
from server.model.session import INPUT

# Maximum number of queued pictures: decoding takes milliseconds, so more would wait for seconds.
MAX_WAITING_PICTURES = 256
FULL_RETRY_SECONDS = 0.5
LENGTH_BYTES = 4  # of the length before each element of a raw BYTES tensor


class Pictures:
    """Decodes the pictures of a call, then continues it on the data plane's thread."""

    def __init__(self, max_bytes: int, call_soon: Callable[[Callable[[], None]], None]) -> None:
        """Start the threads; pictures have at most `max_bytes` bytes each."""
        self.max_bytes = max_bytes
        self._call_soon = call_soon
        self._threads = ThreadPoolExecutor(cpus(), "pictures", initializer=give_way)
        self._waiting = 0
        self._lock = threading.Lock()

    def decode(
        self,
        pictures: Sequence[bytes],
        then: Callable[[bytes], None],
        fail: Callable[[Exception], None],
    ) -> None:
        """Call `then` with the images, 784 bytes each, or `fail` with the error of the first bad picture.

        Raises:
            InvalidRequestError: there are more pictures than the queue holds, or one is too large.
            OverloadedError: the queue is full.

        """
        if len(pictures) > MAX_WAITING_PICTURES:
            raise InvalidRequestError(
                f"the call has {len(pictures)} pictures, expected at most {MAX_WAITING_PICTURES}"
            )
        for index, picture in enumerate(pictures):
            if len(picture) > self.max_bytes:
                raise InvalidRequestError(
                    f"picture {index} has {len(picture)} bytes, expected at most {self.max_bytes}"
                )
        with self._lock:
            if self._waiting + len(pictures) > MAX_WAITING_PICTURES:
                raise OverloadedError(f"{self._waiting} pictures wait to be decoded", FULL_RETRY_SECONDS)
            self._waiting += len(pictures)

        def work() -> None:
            try:
                images = b"".join(_image(picture, index) for index, picture in enumerate(pictures))
            except Exception as error:  # noqa: BLE001 - answered, and logged where it is a defect
                failure = error
                self._call_soon(lambda: fail(failure))
            else:
                self._call_soon(lambda: then(images))
            finally:
                with self._lock:
                    self._waiting -= len(pictures)

        self._threads.submit(work)


def elements(
    tensor: pb.ModelInferRequest.InferInputTensor, contents: Sequence[bytes], max_images: int
) -> tuple[bytes, ...]:
    """Return the pictures in a BYTES tensor, [N] or [N, 1].

    Raises:
        InvalidRequestError: the shape is not [N] or [N, 1] with at most `max_images` elements, or does
            not fit the contents.

    """
    if not tensor.shape or tensor.shape[1:] not in ([], [1]) or not 1 <= tensor.shape[0] <= max_images:
        raise InvalidRequestError(
            f"input {INPUT!r} has shape {cut(str(list(tensor.shape)))}, "
            f"expected [N] with 1 to {max_images} pictures"
        )
    pictures = [*tensor.contents.bytes_contents]
    for content in contents:
        start = 0
        while start < len(content):
            stop = start + LENGTH_BYTES + int.from_bytes(content[start : start + LENGTH_BYTES], "little")
            if stop > len(content):
                raise InvalidRequestError(
                    f"picture {len(pictures)} of input {INPUT!r} ends before its length of "
                    f"{stop - start - LENGTH_BYTES} bytes"
                )
            pictures.append(content[start + LENGTH_BYTES : stop])
            start = stop
    if len(pictures) != tensor.shape[0]:
        raise InvalidRequestError(f"input {INPUT!r} has {len(pictures)} pictures, expected {tensor.shape[0]}")
    return tuple(pictures)


def _image(picture: bytes, index: int) -> bytes:
    # Imported here: a server that accepts no pictures does not load Pillow and SciPy.
    from clients.errors import InputError  # noqa: PLC0415
    from clients.pictures.decode import read_bytes  # noqa: PLC0415
    from clients.pictures.segmentation import find_main  # noqa: PLC0415

    name = f"picture {index}"
    try:
        found, digits = find_main(read_bytes(picture, name), name)
    except InputError as error:
        raise InvalidRequestError(str(error)) from None
    if digits > 1:
        raise InvalidRequestError(f"{name} has {digits} digits, expected one")
    return found.image.tobytes()
