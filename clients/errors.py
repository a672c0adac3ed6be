"""Errors: the input is not images, or the server did not answer."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grpc import StatusCode


class DigitsError(Exception):
    """Catch everything that this library raises on purpose."""


class InputError(DigitsError, ValueError):
    """Say why something given cannot be used: which one, what it is, what was expected."""


class ServerError(DigitsError):
    """Say why the server gave no usable answer; `code` is the gRPC status code."""

    def __init__(self, message: str, code: "StatusCode") -> None:
        super().__init__(message)
        self.code = code
