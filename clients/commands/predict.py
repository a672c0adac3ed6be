"""`digit-client predict`: pictures in, digits out."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import CycloptsError, Parameter, validators

from clients.client import Client
from clients.commands.answers import Detail, Output, Printer
from clients.commands.model_options import ModelOptions
from clients.commands.progress import watched
from clients.commands.server_options import ServerOptions
from clients.commands.sources import STDIN, Reading, answered, expand, first, read_all, read_many
from clients.idx import read_images


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Hold what to read and how to print the answers."""

    idx: Path | None = None
    """Read images from this IDX file, plain or gzip, whatever its name."""
    count: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None
    """Stop after this many images."""
    several: bool = False
    """Find every digit in each picture, as in a zip code, and read them from left to right."""
    raw: bool = False
    """Do not look for the digit: scale each whole picture to 28x28, white on black."""
    output: Annotated[Output, Parameter(name=["--output", "-o"])] = "table"
    """How to print the answers; json is one object a line, plain is digits only."""
    show: bool = False
    """Draw what the network saw beside each answer."""
    explain: bool = False
    """Also show the probability of every digit, and what was done to the picture."""

    @property
    def detail(self) -> Detail:
        """How much to tell about each image."""
        if self.explain:
            return "probabilities"
        return "picture" if self.show else "answer"


_PREDICT, _MODEL, _SERVER = PredictOptions(), ModelOptions(), ServerOptions()


def predict(
    *files: Annotated[str, Parameter(allow_leading_hyphen=True, help="What to read.")],  # "-" is stdin
    options: PredictOptions = _PREDICT,
    model: ModelOptions = _MODEL,
    server: ServerOptions = _SERVER,
) -> int:
    """Predict the digits in FILES: pictures, folders of them, patterns, - for stdin; IDX, NPY, NPZ, TSV.

    What cannot be read is reported at the end, the rest is answered, and the exit code is 1.
    """
    for file in files:
        if file.startswith("-") and file != STDIN:
            raise CycloptsError(msg=f"unknown option: {file}")
    if bool(files) == bool(options.idx):
        raise CycloptsError(msg="give either files or --idx with an IDX file")
    problems: list[str] = []
    if options.idx:
        items = read_many(options.idx, read_images(options.idx, count=options.count))
        name_width, total = len(f"{options.idx}[59999]"), options.count
    else:
        names = expand(files)
        items = read_all(names, Reading(raw=options.raw, several=options.several), problems)
        name_width, total = max(map(len, names)), None
    printer = Printer(sys.stdout, options.output, options.detail, name_width=name_width)
    question = model.question(probabilities=options.explain)
    try:
        with Client(server.connection()) as client:
            answers = answered(client, first(items, options.count), question)
            for item, prediction in watched(answers, total, printing=True):
                printer.print(item, prediction)
        printer.end()
    finally:
        for problem in problems:
            sys.stderr.write(f"digit-client: {problem}\n")
    return 1 if problems else 0
