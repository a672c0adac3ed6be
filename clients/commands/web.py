"""`digit-client web`: a page to draw on."""

import asyncio
import socket
import sys
import webbrowser
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter, validators

from clients.commands.server_options import ServerOptions
from clients.errors import InputError


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class WebOptions:
    """Hold where the page is served."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines, such as your phone, draw too."""
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = 8080
    """Port to listen on; 0 takes any free one."""
    open: bool = False
    """Open the page in your browser."""


_WEB, _SERVER = WebOptions(), ServerOptions()


def web(*, options: WebOptions = _WEB, server: ServerOptions = _SERVER) -> int:
    """Serve a page to draw digits on, until Ctrl-C."""
    # The `web` extra; help and shell completion, which look at every command, work without.
    import uvicorn  # noqa: PLC0415

    from clients.web.app import make_app  # noqa: PLC0415

    app = make_app(server.connection())
    listener = _listen(options)
    url = f"http://{options.host}:{listener.getsockname()[1]}/"
    sys.stdout.write(f"Draw at {url} (digits are read by {server.server}; Ctrl-C stops)\n")
    sys.stdout.flush()
    if options.open:
        webbrowser.open(url)
    runner = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    asyncio.run(runner.serve([listener]))
    return 0


def _listen(options: WebOptions) -> socket.socket:
    try:
        return socket.create_server((options.host, options.port), backlog=128)
    except OSError as error:
        raise InputError(f"cannot listen on {options.host}:{options.port}: {error.strerror}") from None
