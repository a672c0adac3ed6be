"""Bearer tokens: which callers may call which methods. The file holds SHA-256 digests, not tokens.

Tokens are long random strings rather than passwords, so a fast hash is sufficient.
"""

import hashlib
import hmac
import re
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from server.errors import ForbiddenError, ServingError, StartError, UnauthenticatedError
from server.rpc.server import Metadata
from server.rpc.tls import stamp

# Minimum interval between checks of the file.
LOOK_SECONDS = 1.0
SCHEME = "bearer "
LINE = re.compile(r"(\S+)\s+([0-9a-f]{64})(?:\s+(\w+(?:,\w+)*))?")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Entry:
    digest: bytes
    methods: frozenset[str]  # empty: all methods


class Tokens:
    """Tokens of a file of lines `NAME SHA256 [METHOD,METHOD]`; empty lines and # comments are ignored."""

    def __init__(self, path: Path) -> None:
        """Read the file; raises StartError."""
        self._path = path
        self._stamp = stamp(path)
        self._entries = self._read()
        self._next_look = time.monotonic() + LOOK_SECONDS

    def refusal(self, metadata: Metadata, method: str) -> ServingError | None:
        """Return the error of a call with this metadata; None if its token allows `method`."""
        self._look()
        header = next((value for key, value in metadata if key == "authorization"), "")
        if not isinstance(header, str) or not header.lower().startswith(SCHEME):
            return UnauthenticatedError("the call has no token, expected authorization: Bearer TOKEN")
        digest = hashlib.sha256(header[len(SCHEME) :].encode()).digest()
        # Compare with all digests, so that the time does not reveal which one matched.
        found = [entry for entry in self._entries if hmac.compare_digest(entry.digest, digest)]
        if not found:
            return UnauthenticatedError("the call's token is not known")
        if any(not entry.methods or method in entry.methods for entry in found):
            return None
        return ForbiddenError(f"the call's token does not allow {method}")

    def _look(self) -> None:
        """Reload the file if it has changed; if it cannot be used, log that and keep the old tokens."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        if (found := stamp(self._path)) == self._stamp:
            return
        self._stamp = found
        try:
            self._entries = self._read()
        except StartError as error:
            log.error("tokens kept", problem=str(error))  # noqa: TRY400 - the message says it all
        else:
            log.info("tokens read", tokens=len(self._entries))

    def _read(self) -> list[_Entry]:
        try:
            lines = self._path.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise StartError(f"token file {self._path} cannot be read: {reason}") from None
        entries = []
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            match = LINE.fullmatch(line.strip())
            if match is None:  # not logged: it may hold a token
                raise StartError(
                    f"token file {self._path}, line {number}: "
                    "expected NAME SHA256 or NAME SHA256 METHOD,METHOD"
                )
            methods = match[3].split(",") if match[3] else ()
            entries.append(_Entry(bytes.fromhex(match[2]), frozenset(methods)))
        return entries
