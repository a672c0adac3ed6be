"""The announcement of a start on a terminal: addresses and models."""

import sys
from contextlib import suppress

from server.observability.series import Snapshot
from server.observability.table import MODEL_INFO
from server.process.listeners import Ports, written
from server.settings import DEFAULT_MODEL, Settings


def announce(settings: Settings, ports: Ports, metrics_port: int, snapshot: Snapshot) -> None:
    """Tell a person at a terminal where the server is and what it serves."""
    if settings.log_format != "console":
        return
    host = settings.host if settings.host.startswith("unix:") else written(settings.host, ports.grpc)
    encryption = "plaintext" if settings.tls_cert_file is None else "TLS"
    rows = [
        ("gRPC", f"{host} ({encryption})"),
        ("status", f"http://{written(settings.http_host, metrics_port)}/"),
    ]
    models = {info["model"] for info, _ in snapshot.items(MODEL_INFO)}
    default_model = settings.default_model or (models.pop() if len(models) == 1 else DEFAULT_MODEL)
    for info, _ in snapshot.items(MODEL_INFO):
        name = f"{info['model']}/{info['version']}"
        graph = f"accuracy {float(info['accuracy']):.2%}, {info['precision']} on {info['provider']}"
        rows.append(("model", f"{name}: {graph}" + ", the default" * (info["model"] == default_model)))
    with suppress(OSError):  # a full disk
        print("\n".join(f"  {name:7} {text}" for name, text in rows), file=sys.stderr, flush=True)  # noqa: T201 - for a person
