"""`digit-client predict`."""

import json
import os
import sys
from collections.abc import Iterator
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Annotated, Any, TextIO

from cyclopts import CycloptsError, Parameter

from clients.commands.options import ModelOptions, ServerOptions
from clients.commands.output import beside, draw, watched
from clients.commands.sources import STDIN, Item, PredictOptions, answered, expand, read_all
from clients.images import doubt
from clients.wire import Prediction

_BAR = 24  # width of the bar of probability 1, in characters


_PREDICT, _MODEL, _SERVER = PredictOptions(), ModelOptions(), ServerOptions()


def predict(
    *files: Annotated[
        str, Parameter(allow_leading_hyphen=True, help="Files, folders, patterns; - is stdin.")
    ],
    options: PredictOptions = _PREDICT,
    model: ModelOptions = _MODEL,
    server: ServerOptions = _SERVER,
) -> int:
    """Predict the digits in FILES; unreadable files are reported at the end."""
    for file in files:
        if file.startswith("-") and file != STDIN and not Path(file).exists():
            raise CycloptsError(msg=f"unknown option or file: {file}")
    if not files:
        raise CycloptsError(msg="no files given, expected pictures or files of images")
    names = expand(files)
    problems: list[str] = []
    notes: list[str] = []
    printer = _Printer(sys.stdout, options, max(map(len, names)))
    items = read_all(names, options, problems, notes)
    try:
        first = list(islice(items, 1))  # checked before connecting to the server
        if first:
            with server.client() as client:
                asked = model.options(probabilities=options.explain or options.output == "table")
                answers = answered(client, islice(chain(first, items), options.count), asked)
                printer.print(watched(answers, options.count, printing=True))
    finally:
        for note in chain(notes, problems):
            sys.stderr.write(f"digit-client: {note}\n")
    return 1 if problems else 0


class _Printer:
    """Prints answers as they arrive."""

    def __init__(self, out: TextIO, options: PredictOptions, width: int) -> None:
        self._out, self._options, self._width = out, options, max(4, width)
        self._colour = out.isatty() and "NO_COLOR" not in os.environ

    def print(self, answers: Iterator[tuple[Item, Prediction]]) -> None:
        """Print all answers in the chosen format."""
        if self._options.output == "json":
            for item, answer in answers:
                record = json.dumps(self._record(item, answer), ensure_ascii=False)
                self._out.write(record + "\n")
        elif self._options.output == "tsv":
            self._out.write("file\tdigit\tconfidence\tmodel\n")
            for item, answer in answers:
                cells = (item.name, str(answer.digit), f"{answer.confidence:.4f}", _model(answer))
                self._out.write("\t".join(cells) + "\n")
        elif self._options.show or self._options.explain:
            for item, answer in answers:
                self._out.write("\n".join(self._drawn(item, answer)) + "\n\n")
        elif self._options.several:
            for file, digits in groupby(answers, key=lambda pair: pair[0].file):
                self._out.write(self._number(file, list(digits)))
        else:
            self._out.write(f"{'file':<{self._width}}  digit  confidence  model\n")
            for item, answer in answers:
                line = f"{item.name:<{self._width}}  {answer.digit:>5}  {answer.confidence:>10.4f}  "
                self._out.write(f"{line}{_model(answer)}  {_doubt(item, answer)}".rstrip() + "\n")
        self._out.flush()

    def _number(self, file: str, digits: list[tuple[Item, Prediction]]) -> str:
        number = "".join(str(answer.digit) for _, answer in digits)
        item, least = min(digits, key=lambda pair: pair[1].confidence)
        words = _doubt(item, least)
        place = f", digit {(item.index or 0) + 1} {words}" if words else ""
        return f"{file:<{self._width}}  {number:<5}  (lowest {least.confidence:.4f}{place})\n"

    def _drawn(self, item: Item, answer: Prediction) -> list[str]:
        picture = draw(item.image, colour=self._colour)
        if not self._options.explain:
            lines = [item.name, "", f"digit       {answer.digit}"]
            lines += [
                f"confidence  {answer.confidence:.1%}",
                f"model       {_model(answer)}",
                _doubt(item, answer),
            ]
            return beside(picture, lines)
        lines = [f"{item.name}  ({_model(answer)})", ""]
        lines += [
            self._bar(digit, share, chosen=digit == answer.digit)
            for digit, share in enumerate(answer.probabilities or ())
        ]
        return [*beside(picture, lines), *(f"  - {step}" for step in item.steps)]

    def _bar(self, digit: int, share: float, *, chosen: bool) -> str:
        eighths = round(share * _BAR * 8)
        bar = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
        line = f"{digit} {bar:<{_BAR}} {share:6.1%}"
        return f"\x1b[1;32m{line}\x1b[0m" if chosen and self._colour else line

    def _record(self, item: Item, answer: Prediction) -> dict[str, Any]:
        record: dict[str, Any] = {"file": item.file}
        if item.index is not None:
            record["index"] = item.index
        if item.box is not None:
            record["box"] = item.box
        record |= {"digit": answer.digit, "confidence": round(answer.confidence, 6)}
        record |= {"model": answer.model, "version": answer.version}
        if self._options.explain and answer.probabilities:
            record["probabilities"] = [round(share, 6) for share in answer.probabilities]
            record["steps"] = item.steps
        return record


def _model(answer: Prediction) -> str:
    return f"{answer.model}/{answer.version}"


def _doubt(item: Item, answer: Prediction) -> str:
    return doubt(item.image, answer.probabilities) if answer.probabilities else ""
