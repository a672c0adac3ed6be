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

_HOMES = {
    "AsyncClient": "client",
    "Client": "client",
    "Connection": "connection",
    "DigitsError": "errors",
    "FoundDigit": "pictures.normalize",
    "InputError": "errors",
    "ModelInfo": "wire",
    "Prediction": "wire",
    "ServerError": "errors",
    "Timing": "wire",
    "Tls": "connection",
    "explain": "images",
    "find_digits": "images",
    "pixels": "images",
}


def __getattr__(name: str) -> Any:
    # grpc, numpy and Pillow take 0.2 s to import; `digit-client --help` needs none of them.
    if name not in _HOMES:
        raise AttributeError(f"module 'clients' has no attribute {name!r}")
    return getattr(import_module(f"clients.{_HOMES[name]}"), name)
