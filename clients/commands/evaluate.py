"""`digit-client evaluate`: accuracy and throughput on labelled images."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter, validators
from numpy.typing import NDArray

from clients.commands.options import OUTPUT, ModelOptions, Output, ServerOptions
from clients.commands.output import interval, print_rows, watched
from clients.data import read_pair, read_test

_DIGITS = 10


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
    """Predict labelled images, and print accuracy, confusion matrix and throughput."""
    source = (read_pair(data, labels) if labels else read_test(data)).first(options.count)
    for note in source.notes:
        sys.stderr.write(f"digit-client: {note}\n")
    images = len(source.images)
    with server.client() as client:
        started = time.perf_counter()
        stream = client.stream(np.array_split(source.images, -(-images // 64)), **model.options())
        answers = list(watched(stream, images))
        seconds = time.perf_counter() - started
    confusion = np.zeros((_DIGITS, _DIGITS), np.int64)  # [true, predicted]
    predicted = [answer.digit for answer in answers]
    np.add.at(confusion, (source.digits, predicted), 1)  # type: ignore[arg-type]  # labelled
    correct = int(np.trace(confusion))
    accuracy, (low, high) = correct / images, interval(correct, images)
    asked = f"{answers[-1].model}/{answers[-1].version}"
    if options.output == "json":
        record = {
            "model": asked,
            "images": images,
            "correct": correct,
            "accuracy": accuracy,
            "interval": (low, high),
            "seconds": seconds,
            "confusion": confusion.tolist(),
        }
        sys.stdout.write(json.dumps(record) + "\n")
    else:
        if options.output == "table":
            counts = f"{correct:,} of {images:,}; 95 % interval {low:.2%} to {high:.2%}"
            sys.stdout.write(
                f"model       {asked}\naccuracy    {accuracy:.2%}  ({counts})\n"
                f"throughput  {images / seconds:,.0f} images/s\n\n"
            )
        _print_confusion(confusion, tabs=options.output == "tsv")
    if options.min_accuracy is not None and accuracy < options.min_accuracy:
        sys.stderr.write(f"digit-client: accuracy {accuracy:.4f}, expected at least {options.min_accuracy}\n")
        return 3
    return 0


def _print_confusion(confusion: NDArray[np.int64], *, tabs: bool) -> None:
    recall = np.diag(confusion) / np.maximum(confusion.sum(axis=1), 1)
    names = ("true \\ predicted", *map(str, range(_DIGITS)), "recall")
    rows = (
        (str(digit), *(str(count or ".") for count in row), f"{recall[digit]:.1%}")
        for digit, row in enumerate(confusion)
    )
    print_rows(names, rows, tabs=tabs, right=names)
