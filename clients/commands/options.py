"""Options shared by commands: server, model, output format."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter, validators

from clients.client import Client
from clients.connection import Connection, Tls
from clients.wire import Options

_GROUP = Group("Server", sort_key=9)
_AT_LEAST_0 = validators.Number(gte=0)

Output = Literal["table", "json", "tsv"]
OUTPUT = Parameter(name=["--output", "-o"])


@Parameter(name="*", group=_GROUP)
@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Address and protocol of the server, and timeouts."""

    server: Annotated[str, Parameter(name=["--server", "-s"], env_var="DIGITS_SERVER")] = "localhost:8500"
    """Address of the server, HOST:PORT."""
    wait: Annotated[float, Parameter(validator=_AT_LEAST_0)] = 0.0
    """Wait up to this many seconds until the server is ready; without it, fail at once."""
    timeout_seconds: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 10.0
    """Deadline of each call, retries included."""
    tls: bool = False
    """Encrypt the connection; implied by the next three."""
    tls_ca_file: Annotated[Path | None, Parameter(env_var="DIGITS_TLS_CA_FILE")] = None
    """PEM file of the authorities to trust, instead of the system's."""
    tls_cert_file: Path | None = None
    """PEM file of your own certificate, for a server that asks for one."""
    tls_key_file: Path | None = None
    """PEM file of your certificate's key."""
    token: Annotated[str, Parameter(env_var="DIGITS_TOKEN")] = ""
    """Bearer token; in the environment it stays out of the process list."""
    compression: Literal["none", "deflate", "gzip"] = "none"
    """Compress requests."""
    protocol: Literal["digits", "open-inference"] = "digits"
    """Our own protocol, or the Open Inference Protocol of Triton, KServe and others."""

    def connection(self, *, attempts: int = Connection.attempts) -> Connection:
        """Return the connection of these options."""
        secure = self.tls or self.tls_ca_file or self.tls_cert_file or self.tls_key_file
        tls = Tls(ca=self.tls_ca_file, certificate=self.tls_cert_file, key=self.tls_key_file)
        return Connection(
            address=self.server,
            timeout_seconds=self.timeout_seconds,
            attempts=attempts,
            tls=tls if secure else None,
            token=self.token,
            compression=self.compression,
            protocol=self.protocol,
        )

    def client(self) -> Client:
        """Connect; raises ServerError at once if nothing listens, or after `wait` seconds."""
        client = Client(self.connection())
        try:
            client.connect(self.wait)
        except BaseException:
            client.close()
            raise
        return client


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Model, version or label."""

    model: str = ""
    """Ask this model instead of the server's default."""
    model_version: Annotated[int, Parameter(validator=_AT_LEAST_0)] = 0
    """Ask this version of it; 0 leaves the choice to the server."""
    label: str = ""
    """Ask the version that this label points at, such as stable or canary."""

    def options(self, *, probabilities: bool = False) -> Options:
        """Return the keyword arguments of a prediction."""
        return {
            "probabilities": probabilities,
            "model": self.model,
            "version": self.model_version,
            "label": self.label,
        }
