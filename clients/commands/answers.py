"""How `predict` prints what it was told."""

import json
import os
from typing import Literal, TextIO

from clients.commands.picture import beside, draw
from clients.commands.sources import Item
from clients.commands.table import Column, Table
from clients.prediction import Prediction

Output = Literal["table", "json", "tsv"]


class Printer:
    """Print answers one by one as they come."""

    def __init__(self, out: TextIO, output: Output, *, show: bool, name_width: int) -> None:
        self._out, self._output, self._show = out, output, show and output == "table"
        self._colour = out.isatty() and "NO_COLOR" not in os.environ
        self._table = Table(
            [Column("file", name_width), Column("digit", 5, right=True), Column("confidence", 10, right=True),
             Column("model", 12)],
            tabs=output == "tsv",
        )  # fmt: skip
        self._headed = self._show or output == "json"

    def print(self, item: Item, prediction: Prediction) -> None:
        """Print one answer."""
        if not self._headed:
            self._out.write(self._table.head())
            self._headed = True
        self._out.write(self._text(item, prediction))

    def _text(self, item: Item, prediction: Prediction) -> str:
        if self._output == "json":
            return json.dumps(_record(item, prediction), ensure_ascii=False) + "\n"
        model = f"{prediction.model}/{prediction.version}"
        if not self._show:
            confidence = f"{prediction.confidence:.4f}"
            return self._table.row([item.name, str(prediction.digit), confidence, model])
        words = [item.name, "", f"digit       {prediction.digit}",
                 f"confidence  {prediction.confidence:.1%}", f"model       {model}"]  # fmt: skip
        return "\n".join(beside(draw(item.image, colour=self._colour), words)) + "\n\n"


def _record(item: Item, prediction: Prediction) -> dict[str, str | int | float]:
    record: dict[str, str | int | float] = {"file": item.file}
    if item.index is not None:
        record["index"] = item.index
    return record | {
        "digit": prediction.digit,
        "confidence": round(prediction.confidence, 6),
        "model": prediction.model,
        "version": prediction.version,
    }
