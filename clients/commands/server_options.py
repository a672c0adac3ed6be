"""The options that every command which talks to a server has."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter, validators

from clients.connection import Connection


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Hold where the server is and how long to wait for it."""

    server: Annotated[str, Parameter(name=["--server", "-s"], env_var="DIGITS_SERVER")] = "localhost:8500"
    """Address of the server, HOST:PORT."""
    timeout_seconds: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 10.0
    """How long to wait for each answer."""

    def connection(self) -> Connection:
        """Build the connection that these options describe."""
        return Connection(address=self.server, timeout_seconds=self.timeout_seconds)
