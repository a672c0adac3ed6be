"""Errors of the input or the environment, with the exit code of the command."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class TrainerError(Exception):
    """Say in one line which thing is wrong, what it is and what was expected."""

    exit_code = 1


class UsageError(TrainerError):
    """Flags that do not go together."""

    exit_code = 2


class RecipeError(TrainerError):
    """A recipe that cannot be read; the message names the key and the allowed values."""

    exit_code = 2


class ParityError(TrainerError):
    """The exported graph does not answer as the trained network does."""


class GateRefused(TrainerError):  # noqa: N818  # a refusal is an answer, not an error
    """A run does not meet a condition that publishing was given."""

    exit_code = 3


class Stopped(Exception):  # noqa: N818  # a request that was granted, not an error
    """Training stopped when asked to; its last finished epoch is in the checkpoint."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Let an OSError that names no file, as a full disk's does not, name `path`."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def first_line(error: Exception) -> str:
    """Return what a library says, on one line, without terminal colours and the arguments Keras repeats."""
    text = re.sub(r"\x1b\[\d*m", "", str(error)).partition("Arguments received by")[0]
    return " ".join(text.split())[:300] or type(error).__name__
