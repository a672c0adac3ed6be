"""`digit-client predict`: pictures in, digits out."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import CycloptsError, Parameter, validators

from clients.client import Client
from clients.commands.answers import Output, Printer
from clients.commands.server_options import ServerOptions
from clients.commands.sources import answered, from_idx, from_pictures


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Hold what to read, what to ask and how to print it."""

    idx: Path | None = None
    """Read images from this IDX file, plain or gzip."""
    count: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None
    """Read no more than this many images of the IDX file."""
    model: str = ""
    """Ask this model; by default the server chooses."""
    output: Annotated[Output, Parameter(name=["--output", "-o"])] = "table"
    """How to print the answers; json is one object a line."""
    show: Annotated[bool, Parameter(negative=())] = False
    """Draw each image beside its answer."""


_OPTIONS, _SERVER = PredictOptions(), ServerOptions()


def predict(
    *files: str,
    options: PredictOptions = _OPTIONS,
    server: ServerOptions = _SERVER,
) -> int:
    """Predict the digit in each picture FILE: PNG, JPEG, WebP, BMP, TIFF, ...

    A file that is no picture is reported at the end, the others are answered, and the exit code is 1.
    """
    if bool(files) == bool(options.idx):
        raise CycloptsError(msg="give either picture files or --idx with an IDX file")
    problems: list[str] = []
    if options.idx:
        items = from_idx(options.idx, options.count)
        name_width = len(f"{options.idx}[59999]")
    else:
        items = from_pictures(files, problems)
        name_width = max(map(len, files))
    printer = Printer(sys.stdout, options.output, show=options.show, name_width=name_width)
    try:
        with Client(server.connection()) as client:
            for item, prediction in answered(client, items, model=options.model):
                printer.print(item, prediction)
    finally:
        for problem in problems:
            sys.stderr.write(f"digit-client: {problem}\n")
    return 1 if problems else 0
