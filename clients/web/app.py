"""`digit-client web`: the drawing page and its server, an ASGI application."""

import asyncio
import base64
import hashlib
import re
import socket
import sys
import webbrowser
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any

import numpy as np
import segno
import uvicorn
from cyclopts import Parameter, validators
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from clients.aio import AsyncClient
from clients.commands.options import ServerOptions
from clients.connection import Connection
from clients.data.values import PIXELS
from clients.errors import InputError, ServerError
from clients.images import doubt, find_digits
from clients.wire import Prediction

MAX_BODY_BYTES = 16 * 2**20
_ANYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound  # nosec B104


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class WebOptions:
    """Where the page is served."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines, such as your phone, open the page."""
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = 8080
    """Port to listen on; 0 takes any free one."""
    open: bool = False
    """Open the page in your browser."""


_WEB, _SERVER = WebOptions(), ServerOptions()


def web(*, options: WebOptions = _WEB, server: ServerOptions = _SERVER) -> int:
    """Serve the page until Ctrl-C."""
    app = make_app(server.connection())
    try:
        listener = socket.create_server((options.host, options.port), backlog=128)
    except OSError as error:
        raise InputError(f"cannot listen on {options.host}:{options.port}: {error.strerror}") from None
    # Accepted connections inherit it; without it an answer waits 40 ms for the browser's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    port = listener.getsockname()[1]
    shared = options.host in _ANYWHERE
    url = f"http://{'127.0.0.1' if shared else options.host}:{port}/"
    sys.stdout.write(f"Draw at {url} (server {server.server}; Ctrl-C stops)\n")
    if shared and (address := _lan_address()):
        link = f"http://{address}:{port}/"
        sys.stdout.write(f"On your phone: {link} (no password: only for networks that you trust)\n")
        segno.make(link).terminal(compact=True)
    sys.stdout.flush()
    if options.open:
        webbrowser.open(url)
    runner = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    asyncio.run(runner.serve([listener]))
    return 0


def make_app(connection: Connection) -> Starlette:
    """Make the application; it asks the server at `connection`."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncClient(connection) as client:
            app.state.client = client
            yield

    async def page(_: Request) -> Response:
        return HTMLResponse(_PAGE, headers=_HEADERS)

    async def models(request: Request) -> Response:
        client: AsyncClient = request.app.state.client
        found = await client.models()
        try:
            default = (await client.model()).name
        except ServerError:  # several models and no default
            default = ""
        serving = sorted({model.name for model in found if model.state == "serving"})
        record = {"server": connection.address, "models": serving, "default": default}
        return JSONResponse(record, headers=_HEADERS)

    async def strokes(request: Request) -> Response:
        """Read 28x28 images, 784 bytes each, which the page made of strokes."""
        body = await _body(request)
        if not body or len(body) % PIXELS:
            raise InputError(f"strokes have {len(body)} bytes, expected a multiple of {PIXELS}")
        images = np.frombuffer(body, np.uint8).reshape(-1, PIXELS)
        return _answer(images, await _ask(request, images))

    async def picture(request: Request) -> Response:
        """Find the digits in a picture and read them."""
        found = await asyncio.to_thread(find_digits, await _body(request))
        images = np.stack([digit.image.reshape(PIXELS) for digit in found])
        more = [
            {"box": digit.box, "image": digit.image.reshape(PIXELS).tolist(), "steps": digit.steps}
            for digit in found
        ]
        return _answer(images, await _ask(request, images), more)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/models", models),
            Route("/strokes", strokes, methods=["POST"]),
            Route("/predict", picture, methods=["POST"]),
        ],
        exception_handlers={InputError: _refuse, ServerError: _apologise},
        lifespan=lifespan,
    )


async def _ask(request: Request, images: NDArray[np.uint8]) -> list[Prediction]:
    client: AsyncClient = request.app.state.client
    return await client.predict(images, probabilities=True, model=request.query_params.get("model", ""))


def _answer(
    images: NDArray[np.uint8], answers: Sequence[Prediction], more: Sequence[dict[str, Any]] = ()
) -> Response:
    digits = [
        {"digit": answer.digit, "confidence": answer.confidence, "probabilities": answer.probabilities}
        | {"doubt": doubt(image, answer.probabilities or ())}
        | extra
        for image, answer, extra in zip(images, answers, more or [{}] * len(answers), strict=True)
    ]
    first = answers[0]
    record = {
        "number": "".join(str(answer.digit) for answer in answers),
        "digits": digits,
        "model": first.model,
        "version": first.version,
        "compute_seconds": first.timing.compute_seconds,
        "call_seconds": first.timing.call_seconds,
    }
    return JSONResponse(record, headers=_HEADERS)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise InputError(f"picture has more than {MAX_BODY_BYTES >> 20} MiB")
    return bytes(body)


async def _refuse(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error).removeprefix("bytes: ")}, 422, headers=_HEADERS)


async def _apologise(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 502, headers=_HEADERS)


def _lan_address() -> str:
    """Find this machine's address in its network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def _digest(element: str) -> str:
    found = re.search(rf"<{element}>(.*?)</{element}>", _PAGE, re.DOTALL)
    content = found.group(1) if found else ""
    return "'sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() + "'"


def _part(name: str) -> str:
    return files("clients.web").joinpath(name).read_text("utf-8")


_PAGE = _part("page.html").replace("/* page.css */", _part("page.css"))
_PAGE = _PAGE.replace("// draw.js, answer.js", _part("draw.js") + _part("answer.js"))
# Nothing but what the page itself holds may run on it, and nobody may frame it.
_HEADERS = {
    "content-security-policy": "; ".join(
        [
            "default-src 'none'",
            f"script-src {_digest('script')}",
            f"style-src {_digest('style')}",
            "img-src data: blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
