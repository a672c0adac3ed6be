"""Addresses of the gRPC, health and metrics ports, all parsed by the same rules.

0.0.0.0 and :: mean every interface, IPv4 and IPv6; a host name means all of its addresses.
"""

import errno
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address
from typing import NamedTuple

import structlog

from server.errors import StartError
from server.observability.series import Snapshot
from server.observability.table import LABEL_INFO, MODEL_INFO
from server.settings import DEFAULT_MODEL, Settings

EVERY_INTERFACE = frozenset({"0.0.0.0", "::", "*"})  # noqa: S104 - what an operator may ask for
HINTS = {
    errno.EADDRINUSE: "is another server using it?",
    errno.EACCES: "ports below 1024 need a privilege, take one above",
    errno.EADDRNOTAVAIL: "the address is none of this machine's, take one of its own or 0.0.0.0",
    errno.EAFNOSUPPORT: "this machine has no such addresses, take 0.0.0.0",
}
# Errors of an address of a host name that this machine does not have.
MISSING = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
# Attempts to find a port that is free at every address of a host name.
ATTEMPTS = 20
BACKLOG = 128

log = structlog.get_logger()


class Listener(NamedTuple):
    """Where a gRPC server listens: addresses as gRPC writes them, and the port (0: any free one)."""

    addresses: tuple[str, ...]
    port: int


class Ports(NamedTuple):
    """The port of the services, and the health port if there is one."""

    grpc: int
    health: int | None

    @property
    def facts(self) -> dict[str, int]:
        """The ports' fields in the log event of a start."""
        return {"grpc_port": self.grpc} | ({} if self.health is None else {"health_port": self.health})


class _Address(NamedTuple):
    family: socket.AddressFamily
    host: str


def plain(host: str) -> str:
    """Return a host without the brackets around an IPv6 address."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def written(host: str, port: int) -> str:
    """Return HOST:PORT."""
    return f"[{plain(host)}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Tell whether all addresses of a host are loopback addresses."""
    if host.startswith("unix:"):
        return True
    if plain(host) in EVERY_INTERFACE:
        return False
    try:
        return all(ip_address(address.host).is_loopback for address in _resolve("gRPC", host))
    except StartError:
        return False


def warn_of_plaintext(settings: Settings) -> None:
    """Warn if other machines can connect in plaintext."""
    if settings.tls_cert_file is None and not is_loopback(settings.host):
        log.warning(
            "plaintext on a public address",
            host=settings.host,
            hint="set tls_cert_file and tls_key_file, or let nobody but your own mesh reach it",
        )


def announce(settings: Settings, ports: Ports, metrics_port: int, snapshot: Snapshot) -> None:
    """Print addresses and models to a terminal."""
    if settings.log_format != "console":
        return
    host = settings.host if settings.host.startswith("unix:") else written(settings.host, ports.grpc)
    encryption = "plaintext" if settings.tls_cert_file is None else "TLS"
    rows = [
        ("gRPC", f"{host} ({encryption})"),
        ("status", f"http://{written(settings.http_host, metrics_port)}/"),
    ]
    models = {info["model"] for info, _ in snapshot.items(MODEL_INFO)}
    default_model = settings.default_model or (models.pop() if len(models) == 1 else DEFAULT_MODEL)
    for info, _ in snapshot.items(MODEL_INFO):
        name = f"{info['model']}/{info['version']}"
        graph = f"accuracy {float(info['accuracy']):.2%}, {info['precision']} on {info['provider']}"
        labels = [
            named["label"]
            for named, _ in snapshot.items(LABEL_INFO, model=info["model"], version=info["version"])
        ]
        default = ["the default model"] * (info["model"] == default_model)
        rows.append(("model", ", ".join([f"{name}: {graph}", *labels, *default])))
    with suppress(OSError):  # such as a full disk
        print("\n".join(f"  {name:7} {text}" for name, text in rows), file=sys.stderr, flush=True)  # noqa: T201 - for a person


def grpc_listeners(settings: Settings) -> tuple[Listener, Listener | None]:
    """Return where the services listen, and where the health port does, if there is one.

    Raises:
        StartError: an address cannot be bound; the message has the system's reason and a remedy.

    """
    with reserved(settings, shared=False) as listeners:
        return listeners


@contextmanager
def reserved(settings: Settings, *, shared: bool = True) -> Iterator[tuple[Listener, Listener | None]]:
    """Yield where to listen; `shared` reserves the ports for the workers of this server.

    Raises:
        StartError: an address cannot be bound.

    """
    with ExitStack() as stack:
        if settings.host.startswith("unix:"):
            grpc = Listener((_free_socket(settings.host),), 0)
        else:
            grpc = _reserve(stack, "gRPC", settings.host, settings.grpc_port, shared=shared)
        health = None
        if settings.health_port is not None:
            host = settings.http_host if settings.host.startswith("unix:") else settings.host
            health = _reserve(stack, "health", host, settings.health_port, shared=shared)
        yield grpc, health


def http_sockets(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets for the metrics port.

    Raises:
        StartError: an address cannot be bound.

    """
    sockets = _bind("metrics", host, port)
    for each in sockets:
        each.listen(BACKLOG)
    return sockets


def _reserve(stack: ExitStack, name: str, host: str, port: int, *, shared: bool) -> Listener:
    sockets = _bind(name, host, port)
    addresses = [_Address(each.family, each.getsockname()[0]) for each in sockets]
    bound: int = sockets[0].getsockname()[1]
    for each in sockets:
        each.close()
    if shared:
        # Bound without SO_REUSEPORT before, to detect a port that another server's workers share.
        for address in addresses:
            stack.enter_context(_bound(address, bound, reuse_port=True))
    elif not port and len(addresses) == 1:
        bound = 0  # gRPC chooses a free one
    return Listener(tuple(written(address.host, bound) for address in addresses), bound)


def _bind(name: str, host: str, port: int) -> list[socket.socket]:
    """Bind a port on each address of a host that this machine has."""
    addresses = _resolve(name, host)
    attempts = 1 if port else ATTEMPTS
    while True:
        attempts -= 1
        try:
            return _bind_each(addresses, port)
        except OSError as error:
            if attempts and error.errno == errno.EADDRINUSE:
                continue
            hint = HINTS.get(error.errno or 0, "")
            raise StartError(
                f"{name} port {port} on {host} cannot be bound: {error.strerror}" + (hint and f"; {hint}")
            ) from None


def _bind_each(addresses: Sequence[_Address], port: int) -> list[socket.socket]:
    with ExitStack() as failed:
        sockets: list[socket.socket] = []
        for address in addresses:
            try:
                one = _bound(address, sockets[0].getsockname()[1] if sockets else port)
            except OSError as error:
                if error.errno not in MISSING or (address == addresses[-1] and not sockets):
                    raise
            else:
                sockets.append(failed.enter_context(one))
        failed.pop_all()
    return sockets


def _bound(address: _Address, port: int, *, reuse_port: bool = False) -> socket.socket:
    one = socket.socket(address.family)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if address.family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address.host != "::"))
        one.bind((address.host, port))
    except OSError:
        one.close()
        raise
    return one


def _resolve(name: str, host: str) -> Sequence[_Address]:
    """Return the distinct addresses of a host."""
    bare = plain(host)
    if bare in EVERY_INTERFACE:
        if socket.has_dualstack_ipv6():
            return [_Address(socket.AF_INET6, "::")]
        return [_Address(socket.AF_INET, "0.0.0.0")]  # noqa: S104 - asked for
    try:
        found = socket.getaddrinfo(bare, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise StartError(
            f"{name} host {host!r} has no address: {error.strerror}; "
            "take an IP address or a name that resolves"
        ) from None
    return list(dict.fromkeys(_Address(family, str(address[0])) for family, _, _, _, address in found))


def _free_socket(address: str) -> str:
    """Return the address of a Unix socket that has no listener; gRPC replaces the file."""
    with socket.socket(socket.AF_UNIX) as one, suppress(OSError):
        one.connect(address.removeprefix("unix:").replace("//", "", 1))
        raise StartError(f"gRPC socket {address} cannot be bound: another server listens on it")
    return address
