"""TLS: the server's certificate and trusted authorities, reloaded when the files change.

gRPC requests the certificate at every handshake, when the files are checked for changes in microseconds. A
renewed certificate is used from the next connection on; open connections continue. Symlinks are followed, so
Kubernetes' updates of a mounted secret are noticed.
"""

import ssl
from pathlib import Path

import grpc
import structlog

from server.errors import StartError
from server.settings import Settings

log = structlog.get_logger()


class Certificates:
    """The PEM files of a server: certificate chain, key, and the authorities of callers or None."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        """Read the files; raises StartError."""
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._files = [path for path in (certificate, key, client_ca) if path]
        self._stamps = [stamp(path) for path in self._files]
        self._first = self._read()

    @classmethod
    def of(cls, settings: Settings) -> "Certificates | None":
        """Read the files that the settings name; None without TLS. Raises StartError."""
        certificate, key = settings.tls_cert_file, settings.tls_key_file
        if certificate is not None and key is not None:
            return cls(certificate, key, settings.tls_client_ca_file)
        for name in ("tls_cert_file", "tls_key_file", "tls_client_ca_file"):
            if getattr(settings, name) is not None:
                raise StartError(f"only {name} is given, TLS needs tls_cert_file and tls_key_file together")
        return None

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials for a port; callers need a certificate if authorities are given."""
        return grpc.dynamic_ssl_server_credentials(
            self._first,
            self._renewed,  # type: ignore[arg-type]  # None means unchanged
            require_client_authentication=self._client_ca is not None,
        )

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the files' contents if changed; gRPC calls it at each handshake on its own threads."""
        if (stamps := [stamp(path) for path in self._files]) == self._stamps:
            return None
        self._stamps = stamps  # before reading: changes during it are read at the next handshake
        try:
            renewed = self._read()
        except StartError as error:
            log.error("TLS certificate kept", problem=str(error))  # noqa: TRY400 - the message says it all
            return None
        log.info("TLS certificate renewed", file=str(self._certificate))
        return renewed

    def _read(self) -> grpc.ServerCertificateConfiguration:
        chain = _certificates(self._certificate)
        authorities = None if self._client_ca is None else _certificates(self._client_ca)
        try:
            # gRPC would report it only at handshakes, to callers.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                self._certificate, self._key, password=lambda: b""
            )
            key = self._key.read_bytes()
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise StartError(
                    f"TLS key {self._key} is not that of certificate {self._certificate}"
                ) from None
            raise StartError(f"TLS key {self._key} is not a PEM key without a passphrase") from None
        except OSError as error:
            raise StartError(f"TLS key {self._key} cannot be read: {error.strerror}") from None
        return grpc.ssl_server_certificate_configuration([(key, chain)], authorities)


def stamp(path: Path) -> tuple[int, int, int, int] | None:
    """Return what changes with a file's contents; None if it is missing: reading it gives the reason."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _certificates(path: Path) -> bytes:
    """Return the contents of a PEM file."""
    try:
        content = path.read_bytes()
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=content.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise StartError(f"TLS file {path} is not a PEM certificate") from None
    except OSError as error:
        raise StartError(f"TLS file {path} cannot be read: {error.strerror}") from None
    return content
