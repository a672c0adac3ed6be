"""`digit-client health`, `models` and `metadata`."""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Literal

from cyclopts import Parameter

from clients.client import Client
from clients.commands.server_options import ServerOptions
from clients.commands.table import Column, Table
from clients.prediction import ModelInfo

_SERVER = ServerOptions()


_WATCH = Parameter(help="Go on, and print a line whenever that changes, until Ctrl-C.")


def health(
    service: str = "", /, *, watch: Annotated[bool, _WATCH] = False, server: ServerOptions = _SERVER
) -> int:
    """Ask whether the server, or one SERVICE or model of it, is ready; exit code 1 where it is not."""
    what = f"{service} at {server.server}" if service else server.server
    with Client(server.connection()) as client:
        if watch:
            for state in client.watch(service):
                time = datetime.now(UTC).isoformat(timespec="seconds")
                sys.stdout.write(f"{time} {what} is {state}\n")
                sys.stdout.flush()
        ready = client.ready(service)
    sys.stdout.write(f"{what} is {'ready' if ready else 'NOT ready'}\n")
    return 0 if ready else 1


def metadata(model: str = "", /, *, server: ServerOptions = _SERVER) -> int:
    """Tell all about the version of MODEL that serves; by default the server's default model."""
    with Client(server.connection()) as client:
        found = client.model(model)
    for name, value in asdict(found).items():
        if value:
            text = ", ".join(value) if isinstance(value, tuple) else value
            sys.stdout.write(f"{name:<10}{text}\n")
    return 0


def models(
    *,
    output: Annotated[Literal["table", "json", "tsv"], Parameter(name=["--output", "-o"])] = "table",
    server: ServerOptions = _SERVER,
) -> int:
    """List every version of every model that the server knows; json is one object a line."""
    with Client(server.connection()) as client:
        found = client.models()
    if output == "json":
        for model in found:
            sys.stdout.write(json.dumps(asdict(model)) + "\n")
        return 0
    rows = [_row(model) for model in found]
    names = ("model", "version", "state", "labels", "share", "accuracy", "recipe", "provider", "created")
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    right = {"version", "share", "accuracy"}
    table = Table(
        [Column(name, width, right=name in right) for name, width in zip(names, widths, strict=True)],
        tabs=output == "tsv",
    )
    sys.stdout.write(table.head())
    for row in rows:
        sys.stdout.write(table.row(row))
    return 0


def _row(model: ModelInfo) -> tuple[str, ...]:
    state = f"{model.state}: {model.reason}" if model.reason else model.state
    accuracy = f"{model.accuracy:.2%}" if model.accuracy else "-"
    share = f"{model.share:.0%}" if model.share else "-"
    return (
        model.name, str(model.version), state, ",".join(model.labels) or "-", share, accuracy,
        model.recipe or "-", model.provider or "-", model.created or "-",
    )  # fmt: skip
