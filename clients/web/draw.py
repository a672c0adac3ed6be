"""`digit-client web`: the drawing page and its server, an ASGI application."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clients.client import AsyncClient
from clients.commands.options import ServerOptions
from clients.connection import Connection
from clients.data.values import PIXELS
from clients.errors import InputError, ServerError
from clients.images import doubt, find_digits
from clients.web.serving import Page, WebOptions, body, json_response, refuse, serve
from clients.wire import Prediction

_PAGE = Page("page.html", "page.css", "draw.js", "answer.js")
_WEB, _SERVER = WebOptions(), ServerOptions()
# A person wants to know within a second that no server answers; the page asks again when one does.
_ATTEMPTS = 3


def web(*, options: WebOptions = _WEB, server: ServerOptions = _SERVER) -> int:
    """Serve the page until Ctrl-C."""
    return serve(
        make_app(server.connection(attempts=_ATTEMPTS)), options, "Draw", f"server {server.server}; "
    )


def make_app(connection: Connection) -> Starlette:
    """Return the application, for the server at `connection`."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncClient(connection) as client:
            app.state.client = client
            yield

    async def models(request: Request) -> Response:
        client: AsyncClient = request.app.state.client
        found = await client.models()
        try:
            default = (await client.model()).name
        except ServerError:  # several models and no default
            default = ""
        serving = sorted({model.name for model in found if model.state == "serving"})
        record = {"server": connection.address, "models": serving, "default": default}
        return json_response(record)

    async def strokes(request: Request) -> Response:
        """Predict 28x28 images, 784 bytes each, which the page rendered from strokes."""
        content = await body(request)
        if not content or len(content) % PIXELS:
            raise InputError(f"strokes have {len(content)} bytes, expected a multiple of {PIXELS}")
        images = np.frombuffer(content, np.uint8).reshape(-1, PIXELS)
        return _answer(images, await _ask(request, images))

    async def picture(request: Request) -> Response:
        """Find and predict the digits in a picture."""
        found = await asyncio.to_thread(find_digits, await body(request))
        images = np.stack([digit.image.reshape(PIXELS) for digit in found])
        more = [
            {"box": digit.box, "image": digit.image.reshape(PIXELS).tolist(), "steps": digit.steps}
            for digit in found
        ]
        return _answer(images, await _ask(request, images), more)

    return Starlette(
        routes=[
            Route("/", _PAGE.answer),
            Route("/models", models),
            Route("/strokes", strokes, methods=["POST"]),
            Route("/predict", picture, methods=["POST"]),
        ],
        exception_handlers={InputError: refuse, ServerError: refuse},
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
    return json_response(record)
