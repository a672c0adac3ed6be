"""The page and the three questions that it asks, as an ASGI application."""

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from clients.aio import AsyncClient
from clients.connection import Connection
from clients.errors import InputError, ServerError
from clients.images import explain

MAX_BODY_BYTES = 16 * 2**20
_PAGE = files("clients.web").joinpath("page.html").read_text("utf-8")


def make_app(connection: Connection) -> Starlette:
    """Make the application; it asks the server at `connection`, and shares calls between visitors."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncClient(connection, coalesce=True) as client:
            app.state.client = client
            yield

    async def page(_: Request) -> Response:
        return HTMLResponse(_PAGE, headers=_HEADERS)

    async def models(request: Request) -> Response:
        found = await request.app.state.client.models()
        serving = sorted({model.name for model in found if model.state == "serving"})
        return JSONResponse({"server": connection.address, "models": serving}, headers=_HEADERS)

    async def predict(request: Request) -> Response:
        digit = await asyncio.to_thread(explain, await _body(request))
        model = request.query_params.get("model", "")
        (answer,) = await request.app.state.client.predict(digit.image, probabilities=True, model=model)
        record = {
            "digit": answer.digit,
            "confidence": answer.confidence,
            "probabilities": answer.probabilities,
            "model": answer.model,
            "version": answer.version,
            "compute_seconds": answer.timing.compute_seconds,
            "call_seconds": answer.timing.call_seconds,
            "image": digit.image.reshape(-1).tolist(),
            "steps": digit.steps,
        }
        return JSONResponse(record, headers=_HEADERS)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/models", models),
            Route("/predict", predict, methods=["POST"]),
        ],
        exception_handlers={InputError: _refuse, ServerError: _apologise},
        lifespan=lifespan,
    )


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


def _digest(element: str) -> str:
    found = re.search(rf"<{element}>(.*?)</{element}>", _PAGE, re.DOTALL)
    content = found.group(1) if found else ""
    return "'sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() + "'"


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
