"""The options that every command which talks to a server has."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter, validators

from clients.connection import Connection, Tls

_GROUP = Group("Server", sort_key=9)


@Parameter(name="*", group=_GROUP)
@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Hold where the server is, how to talk to it and how long to wait."""

    server: Annotated[str, Parameter(name=["--server", "-s"], env_var="DIGITS_SERVER")] = "localhost:8500"
    """Address of the server, HOST:PORT."""
    timeout_seconds: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 10.0
    """How long to wait for each answer, retries included."""
    tls: bool = False
    """Encrypt the connection; implied by the next three."""
    tls_ca: Annotated[Path | None, Parameter(env_var="DIGITS_TLS_CA")] = None
    """PEM file of the authorities to trust, in place of the system's."""
    tls_certificate: Annotated[Path | None, Parameter(env_var="DIGITS_TLS_CERTIFICATE")] = None
    """PEM file of your own certificate, where the server wants to know its callers."""
    tls_key: Annotated[Path | None, Parameter(env_var="DIGITS_TLS_KEY")] = None
    """PEM file of your certificate's key."""
    token: Annotated[str, Parameter(env_var="DIGITS_TOKEN")] = ""
    """Bearer token; better given in the environment than seen in the list of processes."""
    compression: Literal["none", "deflate", "gzip"] = "none"
    """Compress what is sent."""
    protocol: Literal["digits", "open-inference"] = "digits"
    """Speak our own protocol, or the Open Inference Protocol of Triton, KServe and others."""

    def connection(self, *, attempts: int = Connection.attempts) -> Connection:
        """Build the connection that these options describe."""
        secure = self.tls or self.tls_ca or self.tls_certificate or self.tls_key
        return Connection(
            address=self.server,
            timeout_seconds=self.timeout_seconds,
            attempts=attempts,
            tls=Tls(ca=self.tls_ca, certificate=self.tls_certificate, key=self.tls_key) if secure else None,
            token=self.token,
            compression=self.compression,
            protocol=self.protocol,
        )
