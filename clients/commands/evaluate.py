"""`digit-client evaluate`: labelled images in, accuracy and throughput out."""

import json
import sys
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter, validators
from numpy.typing import NDArray

from clients.client import Client
from clients.commands.model_options import ModelOptions
from clients.commands.progress import watched
from clients.commands.server_options import ServerOptions
from clients.commands.sources import answered, read_many
from clients.datasets import find_labelled, read_labels
from clients.errors import InputError
from clients.prediction import Prediction

_DIGITS = 10
_Z = 1.959964  # two-sided 95 %


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Hold how many images to ask about and how to print the result."""

    count: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None
    """Stop after this many images."""
    output: Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"])] = "table"
    """How to print the result."""
    at_least: Annotated[float | None, Parameter(validator=validators.Number(gte=0, lte=1))] = None
    """Exit with code 3 where the accuracy (0-1) is lower."""


@dataclass(frozen=True, slots=True)
class Result:
    """Hold what a model answered; `confusion` is int (true, predicted)."""

    confusion: NDArray[np.int64]
    model: str
    seconds: float

    @property
    def images(self) -> int:
        """How many images were asked about."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """How many digits were right."""
        return int(np.trace(self.confusion))

    @property
    def accuracy(self) -> float:
        """The share of digits that were right, 0-1."""
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
    """Ask about labelled images: how many digits are right, which are confused, how many a second.

    DATA is a folder with MNIST's test files, a .npz of images and labels, or images (IDX, NPY, TSV)
    with LABELS beside them.
    """
    source = find_labelled(data, labels)
    truth = read_labels(source.labels)[: options.count]
    confusion = np.zeros((_DIGITS, _DIGITS), np.int64)
    asked_model = ""
    started = time.perf_counter()
    with Client(server.connection()) as client:
        items = islice(read_many(source.images), options.count)
        for item, prediction in watched(answered(client, items, model.question()), len(truth)):
            if item.index is None or item.index >= len(truth):
                raise InputError(
                    f"{source.images}: holds more images than {source.labels} {len(truth):,} labels"
                )
            confusion[truth[item.index], prediction.digit] += 1
            asked_model = _name(prediction)
    result = Result(confusion, asked_model, time.perf_counter() - started)
    if result.images < len(truth):
        raise InputError(
            f"{source.images}: holds {result.images:,} images, {source.labels} {len(truth):,} labels"
        )
    sys.stdout.write(json.dumps(_record(result)) + "\n" if options.output == "json" else _report(result))
    if options.at_least is not None and result.accuracy < options.at_least:
        sys.stderr.write(
            f"digit-client: accuracy {result.accuracy:.4f}, expected at least {options.at_least}\n"
        )
        return 3
    return 0


def _name(prediction: Prediction) -> str:
    return f"{prediction.model}/{prediction.version}"


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


def _report(result: Result) -> str:
    low, high = result.interval
    recall = np.diag(result.confusion) / np.maximum(result.confusion.sum(axis=1), 1)
    counts = f"{result.correct:,} of {result.images:,}; 95 % interval {low:.2%} to {high:.2%}"
    lines = [
        f"model       {result.model}",
        f"accuracy    {result.accuracy:.2%}  ({counts})",
        f"throughput  {result.images / result.seconds:,.0f} images/s",
        "",
        "true \\ predicted " + "".join(f"{digit:>6}" for digit in range(_DIGITS)) + "   right",
    ]
    for digit, row in enumerate(result.confusion):
        cells = "".join(f"{count or '.':>6}" for count in row)
        lines.append(f"{digit:>16} {cells}  {recall[digit]:6.1%}")
    return "\n".join(lines) + "\n"
