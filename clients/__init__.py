"""The Python client library and the command line built on it.

from clients import Client

with Client("localhost:8500") as client:
    print(client.predict_one("seven.png").digit)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clients.client import AsyncClient, Client
    from clients.connection import Connection, Tls
    from clients.errors import DigitsError, InputError, ServerError
    from clients.images import explain, find_digits, pixels
    from clients.pictures.normalize import FoundDigit
    from clients.wire import ModelInfo, Prediction, Timing

__all__ = [
    "AsyncClient",
    "Client",
    "Connection",
    "DigitsError",
    "FoundDigit",
    "InputError",
    "ModelInfo",
    "Prediction",
    "ServerError",
    "Timing",
    "Tls",
    "explain",
    "find_digits",
    "pixels",
]

# The modules that have these names, the fastest import first.
_MODULES = ("errors", "images", "connection", "wire", "client")


def __getattr__(name: str) -> Any:
    # grpc, numpy and Pillow take 0.2 s to import; `digit-client --help` needs none of them.
    for module in _MODULES if name in __all__ else ():
        if found := getattr(import_module(f"clients.{module}"), name, None):
            return found
    raise AttributeError(f"module 'clients' has no attribute {name!r}")
