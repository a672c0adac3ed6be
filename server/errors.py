"""Errors and their gRPC statuses.

Messages name the offending item, its value and what was expected; they are sent to the caller unchanged. Any
other exception is a defect: it is logged, and the caller receives INTERNAL without details.
"""

from typing import ClassVar

from grpc import StatusCode

# Maximum length of callers' text in messages: gRPC cannot send long ones.
MAX_QUOTED_CHARACTERS = 200


class ServingError(Exception):
    """A call is answered with an error status."""

    code: ClassVar[StatusCode]


class InvalidRequestError(ServingError):
    """The request is invalid; retrying cannot succeed."""

    code = StatusCode.INVALID_ARGUMENT


class NotFoundError(ServingError):
    """No such model, version or label."""

    code = StatusCode.NOT_FOUND


class OverloadedError(ServingError):
    """Refused by admission; the caller may retry after a delay."""

    code = StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, message: str, retry_seconds: float) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class UnauthenticatedError(ServingError):
    """The call has no known token."""

    code = StatusCode.UNAUTHENTICATED


class ForbiddenError(ServingError):
    """The call's token does not allow the method."""

    code = StatusCode.PERMISSION_DENIED


class ExpiredError(ServingError):
    """The deadline passed before the model was run."""

    code = StatusCode.DEADLINE_EXCEEDED


class UnavailableError(ServingError):
    """The server is starting or stopping."""

    code = StatusCode.UNAVAILABLE


class ModelFailedError(ServingError):
    """The model failed on this call's images; the log has the details."""

    code = StatusCode.INTERNAL


class StartError(Exception):
    """The server cannot start; the message is the one line that is printed."""


class RefusedError(Exception):
    """A version cannot be served; the message says why."""


def cut(text: str) -> str:
    """Return the first MAX_QUOTED_CHARACTERS of `text`."""
    return text if len(text) <= MAX_QUOTED_CHARACTERS else f"{text[:MAX_QUOTED_CHARACTERS]}..."


def quoted(text: str) -> str:
    """Return `text` in quotes, cut to MAX_QUOTED_CHARACTERS."""
    return cut(repr(text[:MAX_QUOTED_CHARACTERS]))
