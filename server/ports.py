"""The ports that calls come in by: bound by one process, or held for workers that share them."""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import structlog

from server.errors import StartError
from server.settings import Settings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ports:
    """The port of the services, and that of health alone where there is one."""

    grpc: int
    health: int | None

    @property
    def facts(self) -> dict[str, int]:
        """What the line says that tells that the server is ready."""
        return {"grpc_port": self.grpc} | ({} if self.health is None else {"health_port": self.health})


def bind(
    server: grpc.aio.Server, name: str, host: str, port: int, credentials: grpc.ServerCredentials | None
) -> int:
    """Let `server` listen, and return the port it has.

    Raises:
        StartError: the port is taken.

    """
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError:
        raise _taken(name, host, port) from None


@contextmanager
def reserved(settings: Settings) -> Iterator[Ports]:
    """Hold the ports for the workers of this server and no other; yield them.

    Raises:
        StartError: somebody has one.

    """
    with _reserved("gRPC", settings.host, settings.grpc_port) as grpc_port:
        if settings.health_port is None:
            yield Ports(grpc_port, None)
        else:
            with _reserved("health", settings.host, settings.health_port) as health_port:
                yield Ports(grpc_port, health_port)


@contextmanager
def _reserved(name: str, host: str, port: int) -> Iterator[int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as alone, socket.socket(family) as shared:
        try:
            # Without SO_REUSEPORT first: another server's workers would share theirs with ours.
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind((host, port))
            taken: int = alone.getsockname()[1]
            alone.close()
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            shared.bind((host, taken))
        except OSError:
            raise _taken(name, host, port) from None
        yield taken


def _taken(name: str, host: str, port: int) -> StartError:
    return StartError(f"{name} port {port} on {host} cannot be bound, is another server using it?")


def warn_of_plaintext(settings: Settings) -> None:
    """Log a line where callers elsewhere can come in and nothing is encrypted."""
    if settings.tls_cert_file is None and not _loopback(settings.host):
        log.warning(
            "plaintext on a public address",
            host=settings.host,
            hint="set tls_cert_file and tls_key_file, or let nobody but your own mesh reach it",
        )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
