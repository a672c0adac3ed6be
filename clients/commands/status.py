"""`digit-client status`, `health`, `models` and `metadata`."""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from clients.commands.options import OUTPUT, Output, ServerOptions
from clients.commands.output import print_rows
from clients.errors import ServerError
from clients.wire import ModelInfo

_SERVER = ServerOptions()
_WATCH = Parameter(help="Print a line at every change, until Ctrl-C.")
_COLUMNS = ("model", "version", "state", "labels", "traffic", "accuracy", "recipe", "provider", "created")
_RIGHT = ("version", "traffic", "accuracy")


def status(*, output: Annotated[Output, OUTPUT] = "table", server: ServerOptions = _SERVER) -> int:
    """Show the health, models and traffic of a server; exit code 1 if it is not ready."""
    with server.client() as client:
        ready, found = client.ready(), client.models()
        try:
            default = client.model().name
        except ServerError:  # several models and no default
            default = "none"
        health = {name: _health(client.ready(name)) for name in sorted({model.name for model in found})}
    if output == "json":
        record = {"server": server.server, "ready": ready, "default_model": default, "health": health}
        sys.stdout.write(json.dumps(record | {"models": [asdict(model) for model in found]}) + "\n")
    else:
        if output == "table":
            sys.stdout.write(f"server         {server.server}, {_health(ready)}\ndefault model  {default}\n")
            sys.stdout.writelines(f"{name:<13}  {state}\n" for name, state in health.items())
            sys.stdout.write("\n")
            sys.stdout.flush()
        print_rows(_COLUMNS, map(_row, found), tabs=output == "tsv", right=_RIGHT)
    return 0 if ready else 1


def health(
    service: str = "", /, *, watch: Annotated[bool, _WATCH] = False, server: ServerOptions = _SERVER
) -> int:
    """Check whether the server, or SERVICE (a service or model), is ready; exit code 1 if it is not."""
    what = f"{service} at {server.server}" if service else server.server
    with server.client() as client:
        if watch:
            for state in client.watch(service):
                time = datetime.now(UTC).isoformat(timespec="seconds")
                sys.stdout.write(f"{time} {what} is {state}\n")
                sys.stdout.flush()
        ready = client.ready(service)
    sys.stdout.write(f"{what} is {'ready' if ready else 'NOT ready'}\n")
    return 0 if ready else 1


def metadata(model: str = "", /, *, server: ServerOptions = _SERVER) -> int:
    """Describe the serving version of MODEL; by default the server's default model."""
    with server.client() as client:
        found = client.model(model)
    for name, value in asdict(found).items():
        if value:
            text = ", ".join(value) if isinstance(value, tuple) else value
            sys.stdout.write(f"{name:<10}{text}\n")
    return 0


def models(*, output: Annotated[Output, OUTPUT] = "table", server: ServerOptions = _SERVER) -> int:
    """List every version of every model; json is one object per line."""
    with server.client() as client:
        found = client.models()
    if output == "json":
        sys.stdout.writelines(json.dumps(asdict(model)) + "\n" for model in found)
    else:
        print_rows(_COLUMNS, map(_row, found), tabs=output == "tsv", right=_RIGHT)
    return 0


def _health(ready: bool) -> str:
    return "ready" if ready else "NOT ready"


def _row(model: ModelInfo) -> tuple[str, ...]:
    state = f"{model.state}: {model.reason}" if model.reason else model.state
    accuracy = f"{model.accuracy:.2%}" if model.accuracy else "-"
    traffic = f"{model.share:.0%}" if model.share else "-"
    cells = (model.name, str(model.version), state, ",".join(model.labels), traffic, accuracy)
    return tuple(cell or "-" for cell in (*cells, model.recipe, model.provider, model.created))
