"""Errors and their exit codes."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class TrainerError(Exception):
    """An error of input or environment; the message names the item, its value and what was expected."""

    exit_code = 1


class UsageError(TrainerError):
    """Wrong usage of the command line."""

    exit_code = 2


class RecipeError(TrainerError):
    """An invalid recipe; the message names the key and the allowed values."""

    exit_code = 2


class ParityError(TrainerError):
    """The exported graph and the trained network disagree."""


class GateRefused(TrainerError):  # noqa: N818  # a refusal is an answer, not an error
    """A run does not meet a condition of publishing."""

    exit_code = 3


class Stopped(Exception):  # noqa: N818  # a requested stop, not an error
    """Training was stopped; its last finished epoch is in the checkpoint."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Add `path` to an OSError without a file name, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def first_line(error: Exception) -> str:
    """Return a library's message on one line, without terminal colours and repeated arguments."""
    text = re.sub(r"\x1b\[\d*m", "", str(error)).partition("Arguments received by")[0]
    return " ".join(text.split())[:300] or type(error).__name__
