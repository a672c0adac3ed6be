"""Errors, each with the gRPC status that the caller sees.

Messages name the offending item, what it is and what was expected; they are sent to the caller as they
are. Any other exception is a defect of ours: it is logged, and the caller learns only that it happened.
"""

from typing import ClassVar

from grpc import StatusCode

# Most characters of a caller's own text that a message repeats: gRPC refuses to send long ones.
MAX_QUOTED_CHARACTERS = 200


class ServingError(Exception):
    """A call that gets an error status instead of an answer."""

    code: ClassVar[StatusCode]


class InvalidRequestError(ServingError):
    """The request can never succeed, whenever it is sent."""

    code = StatusCode.INVALID_ARGUMENT


class NotFoundError(ServingError):
    """No such model, version or label."""

    code = StatusCode.NOT_FOUND


class OverloadedError(ServingError):
    """Refused by admission; the caller may try again after a pause."""

    code = StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, message: str, retry_seconds: float) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class UnauthenticatedError(ServingError):
    """The call has no token that is known."""

    code = StatusCode.UNAUTHENTICATED


class ForbiddenError(ServingError):
    """The call's token is known, and not good for the method."""

    code = StatusCode.PERMISSION_DENIED


class ExpiredError(ServingError):
    """The caller's deadline passed while it waited; the model was not run for it."""

    code = StatusCode.DEADLINE_EXCEEDED


class UnavailableError(ServingError):
    """The server is starting or stopping."""

    code = StatusCode.UNAVAILABLE


class ModelFailedError(ServingError):
    """The model raised on this call's images; the log has the details."""

    code = StatusCode.INTERNAL


class StartError(Exception):
    """The server cannot start; the message is the one line that its operator reads."""


class RefusedError(Exception):
    """A version that may not serve; the message says why."""


def cut(text: str) -> str:
    """Return `text`, or its first MAX_QUOTED_CHARACTERS."""
    return text if len(text) <= MAX_QUOTED_CHARACTERS else f"{text[:MAX_QUOTED_CHARACTERS]}..."


def quoted(text: str) -> str:
    """Return `text` in quotes, cut to MAX_QUOTED_CHARACTERS."""
    return cut(repr(text[:MAX_QUOTED_CHARACTERS]))
