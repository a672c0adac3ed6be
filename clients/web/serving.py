"""Serving of the pages: listener, addresses, security headers, request bodies, errors."""

import asyncio
import base64
import hashlib
import re
import socket
import sys
import webbrowser
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any

import segno
import uvicorn
from cyclopts import Parameter, validators
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from clients.errors import InputError, ServerError

MAX_BODY_BYTES = 16 * 2**20
HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store"}
_ANYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class WebOptions:
    """Address of the page."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines, such as your phone, open the page."""
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = 8080
    """Port to listen on; 0 takes any free one."""
    open: bool = False
    """Open the page in your browser."""


class Page:
    """A self-contained page, which runs only its own scripts and cannot be framed."""

    def __init__(self, html: str, style: str, *scripts: str) -> None:
        """Build the page: `style` and all `scripts` replace comments of these names."""
        text = _part(html).replace(f"/* {style} */", _part(style))
        self._text = text.replace(f"// {', '.join(scripts)}", "".join(map(_part, scripts)))
        policy = (
            "default-src 'none'",
            f"script-src {self._digest('script')}",
            f"style-src {self._digest('style')}",
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
        self._headers = {"content-security-policy": "; ".join(policy)} | HEADERS

    async def answer(self, _: Request) -> Response:
        """Return the page."""
        return HTMLResponse(self._text, headers=self._headers)

    def _digest(self, element: str) -> str:
        found = re.search(rf"<{element}>(.*?)</{element}>", self._text, re.DOTALL)
        content = found.group(1) if found else ""
        return "'sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() + "'"


def serve(app: Starlette, options: WebOptions, verb: str, about: str = "") -> int:
    """Print the page's address, and serve it until Ctrl-C. Raises InputError if it cannot listen."""
    try:
        listener = socket.create_server((options.host, options.port), backlog=128)
    except OSError as error:
        raise InputError(f"cannot listen on {options.host}:{options.port}: {error.strerror}") from None
    # Inherited by accepted connections; without it, answers wait 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    port = listener.getsockname()[1]
    shared = options.host in _ANYWHERE
    url = f"http://{'127.0.0.1' if shared else options.host}:{port}/"
    sys.stdout.write(f"{verb} at {url} ({about}Ctrl-C stops)\n")
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


async def body(request: Request) -> bytes:
    """Return the body of a request. Raises InputError if it is larger than MAX_BODY_BYTES."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MAX_BODY_BYTES:
            raise InputError(f"picture has more than {MAX_BODY_BYTES >> 20} MiB")
    return bytes(content)


def json_response(record: dict[str, Any], status: int = 200) -> Response:
    """Return a response with a JSON object."""
    return JSONResponse(record, status, headers=HEADERS)


async def refuse(_: Request, error: Exception) -> Response:
    """Return the response to an InputError or a ServerError."""
    status = 502 if isinstance(error, ServerError) else 422
    return json_response({"error": str(error).removeprefix("bytes: ")}, status)


def _lan_address() -> str:
    """Return this machine's address in its network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def _part(name: str) -> str:
    return files("clients.web").joinpath(name).read_text("utf-8")
