"""`digit-client evaluate`: accuracy and throughput on labelled images."""

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter, validators
from numpy.typing import NDArray

from clients.commands.options import OUTPUT, ModelOptions, Output, ServerOptions
from clients.commands.output import print_rows, watched
from clients.data import ImageData, read, read_pair, read_test
from clients.errors import InputError

_DIGITS = 10
_Z = 1.959964  # two-sided 95 %


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options: number of images and output format."""

    count: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None
    """Stop after this many images."""
    output: Annotated[Output, OUTPUT] = "table"
    """Format of the result."""
    min_accuracy: Annotated[float | None, Parameter(validator=validators.Number(gte=0, lte=1))] = None
    """Exit with code 3 if the accuracy (0-1) is lower."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result; `confusion` is int [true, predicted]."""

    confusion: NDArray[np.int64]
    model: str
    seconds: float

    @property
    def images(self) -> int:
        """Number of images."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """Number of correct digits."""
        return int(np.trace(self.confusion))

    @property
    def accuracy(self) -> float:
        """Accuracy, 0-1."""
        return self.correct / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        n, p = self.images, self.accuracy
        middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z * np.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
        return float(middle - half), float(middle + half)


_EVALUATE, _MODEL, _SERVER = EvaluateOptions(), ModelOptions(), ServerOptions()


def evaluate(
    data: Path,
    labels: Path | None = None,
    /,
    *,
    options: EvaluateOptions = _EVALUATE,
    model: ModelOptions = _MODEL,
    server: ServerOptions = _SERVER,
) -> int:
    """Predict labelled images, and print accuracy, confusion matrix and throughput.

    DATA is a folder with MNIST's test files, a .npz of images and labels, or images (IDX, NPY, TSV)
    with LABELS beside them.
    """
    source = _read(data, labels, options.count)
    if source.digits is None:
        raise InputError(f"{data}: images without labels; give the file of labels too")
    for note in source.notes:
        sys.stderr.write(f"digit-client: {note}\n")
    confusion = np.zeros((_DIGITS, _DIGITS), np.int64)
    asked_model = ""
    with server.client() as client:
        started = time.perf_counter()
        answers = client.stream(
            np.array_split(source.images, -(-len(source.images) // 64)), **model.options()
        )
        for digit, answer in zip(source.digits.tolist(), watched(answers, len(source.images)), strict=True):
            confusion[digit, answer.digit] += 1
            asked_model = f"{answer.model}/{answer.version}"
    result = Result(confusion, asked_model, time.perf_counter() - started)
    if options.output == "json":
        sys.stdout.write(json.dumps(_record(result)) + "\n")
    else:
        _report(result, tabs=options.output == "tsv")
    if options.min_accuracy is not None and result.accuracy < options.min_accuracy:
        sys.stderr.write(
            f"digit-client: accuracy {result.accuracy:.4f}, expected at least {options.min_accuracy}\n"
        )
        return 3
    return 0


def _read(data: Path, labels: Path | None, count: int | None) -> ImageData:
    if labels:
        return read_pair(data, labels, count=count)
    if not data.is_dir():
        return read(data, count=count)
    found = read_test(data)
    return replace(found, images=found.images[:count], digits=found.digits[:count])  # type: ignore[index]  # labelled


def _record(result: Result) -> dict[str, Any]:
    return {
        "model": result.model,
        "images": result.images,
        "correct": result.correct,
        "accuracy": result.accuracy,
        "interval": result.interval,
        "seconds": result.seconds,
        "confusion": result.confusion.tolist(),
    }


def _report(result: Result, *, tabs: bool) -> None:
    low, high = result.interval
    recall = np.diag(result.confusion) / np.maximum(result.confusion.sum(axis=1), 1)
    if not tabs:
        counts = f"{result.correct:,} of {result.images:,}; 95 % interval {low:.2%} to {high:.2%}"
        sys.stdout.write(
            f"model       {result.model}\naccuracy    {result.accuracy:.2%}  ({counts})\n"
            f"throughput  {result.images / result.seconds:,.0f} images/s\n\n"
        )
        sys.stdout.flush()
    names = ("true \\ predicted", *map(str, range(_DIGITS)), "recall")
    rows = (
        (str(digit), *(str(count or ".") for count in row), f"{recall[digit]:.1%}")
        for digit, row in enumerate(result.confusion)
    )
    print_rows(names, rows, tabs=tabs, right=names)
