"""How `predict` prints what it was told."""

import json
import os
from collections.abc import Sequence
from typing import Any, Literal, TextIO

from clients.commands.picture import beside, draw
from clients.commands.sources import Item
from clients.commands.table import Column, Table
from clients.prediction import Prediction

Output = Literal["table", "json", "tsv", "plain"]
Detail = Literal["answer", "picture", "probabilities"]
_BAR = 24  # characters for a probability of 1


class Printer:
    """Print answers one by one as they come.

    `detail` decides what a table is for a person: a line, the picture, or the picture with the
    probability of every digit and what was done to the image.
    """

    def __init__(self, out: TextIO, output: Output, detail: Detail, *, name_width: int) -> None:
        self._out, self._output, self._detail = out, output, detail
        self._colour = out.isatty() and "NO_COLOR" not in os.environ
        self._table = Table(
            [
                Column("file", max(4, name_width)),
                Column("digit", 5, right=True),
                Column("confidence", 10, right=True),
                Column("model", 0),
            ],
            tabs=output == "tsv",
        )
        self._headed = output not in {"table", "tsv"} or (output == "table" and detail != "answer")
        self._in_line = False

    def print(self, item: Item, prediction: Prediction) -> None:
        """Print one answer."""
        if not self._headed:
            self._out.write(self._table.head())
            self._headed = True
        if self._output == "plain":
            self._out.write(self._plain(item, prediction))
        elif self._output == "json":
            self._out.write(json.dumps(_record(item, prediction, self._detail), ensure_ascii=False) + "\n")
        elif self._output == "tsv" or self._detail == "answer":
            cells = [item.name, str(prediction.digit), f"{prediction.confidence:.4f}", _model(prediction)]
            self._out.write(self._table.row(cells))
        else:
            self._out.write("\n".join(self._drawn(item, prediction)) + "\n\n")

    def end(self) -> None:
        """Finish the last line, and hand all of it over."""
        if self._in_line:
            self._out.write("\n")
        self._out.flush()

    def _plain(self, item: Item, prediction: Prediction) -> str:
        # The digits of one picture make one number; everything else is one digit a line.
        joined = item.box is not None and item.index != 0
        start = "\n" if self._in_line and not joined else ""
        self._in_line = True
        return f"{start}{prediction.digit}"

    def _drawn(self, item: Item, prediction: Prediction) -> Sequence[str]:
        picture = draw(item.image, colour=self._colour)
        if self._detail == "probabilities" and prediction.probabilities:
            lines = [f"{item.name}  ({_model(prediction)})", ""]
            lines += [
                self._bar(digit, share, chosen=digit == prediction.digit)
                for digit, share in enumerate(prediction.probabilities)
            ]
            return [*beside(picture, lines), *(f"  - {step}" for step in item.steps)]
        lines = [
            item.name,
            "",
            f"digit       {prediction.digit}",
            f"confidence  {prediction.confidence:.1%}",
            f"model       {_model(prediction)}",
        ]
        return beside(picture, lines)

    def _bar(self, digit: int, share: float, *, chosen: bool) -> str:
        eighths = round(share * _BAR * 8)
        bar = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
        line = f"{digit} {bar:<{_BAR}} {share:6.1%}"
        return f"\x1b[1;32m{line}\x1b[0m" if chosen and self._colour else line


def _model(prediction: Prediction) -> str:
    return f"{prediction.model}/{prediction.version}"


def _record(item: Item, prediction: Prediction, detail: Detail) -> dict[str, Any]:
    record: dict[str, Any] = {"file": item.file}
    if item.index is not None:
        record["index"] = item.index
    if item.box is not None:
        record["box"] = item.box
    record |= {
        "digit": prediction.digit,
        "confidence": round(prediction.confidence, 6),
        "model": prediction.model,
        "version": prediction.version,
    }
    if detail == "probabilities" and prediction.probabilities:
        record["probabilities"] = [round(share, 6) for share in prediction.probabilities]
        record["steps"] = item.steps
    return record
