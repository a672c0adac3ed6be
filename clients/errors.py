"""Errors of the client library."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grpc import StatusCode


class DigitsError(Exception):
    """Base class of the library's errors."""


class InputError(DigitsError, ValueError):
    """An input cannot be used; the message names it, its value and what was expected."""


class ServerError(DigitsError):
    """The server gave no usable answer; `code` is the gRPC status code."""

    def __init__(self, message: str, code: "StatusCode") -> None:
        super().__init__(message)
        self.code = code
