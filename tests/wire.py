"""HTTP/2 by hand, for peers that no gRPC library can be."""

import socket
from types import TracebackType
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection

from tests.process import WAIT_SECONDS

PREDICT = "/digits.v1.PredictionService/Predict"


class Speaker:
    """The frames of one end of a connection."""

    def __init__(self, window: int = 65535) -> None:
        self.http = H2Connection(H2Configuration(validate_outbound_headers=False))
        self.http.local_settings.initial_window_size = window
        self.http.initiate_connection()

    def begin(self, path: str = PREDICT, *more: tuple[str, str | bytes]) -> int:
        """Start a call; return its stream."""
        stream: int = self.http.get_next_available_stream_id()
        headers = [
            *((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")),
            *(("te", "trailers"), ("content-type", "application/grpc"), *more),
        ]
        self.http.send_headers(stream, headers)
        return stream


class Peer(Speaker):
    """One end that is connected to a server."""

    def __init__(self, port: int, window: int = 65535) -> None:
        super().__init__(window)
        self.socket = socket.create_connection(("127.0.0.1", port), WAIT_SECONDS)
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def flush(self) -> None:
        """Send the queued frames."""
        self.socket.sendall(self.http.data_to_send())

    def begin(self, path: str = PREDICT, *more: tuple[str, str | bytes]) -> int:
        """Start a call and send its frames; return its stream."""
        stream = super().begin(path, *more)
        self.flush()
        return stream

    def closed(self) -> bool:
        """Read without answering until the server closes the connection."""
        while True:
            try:
                if not self.socket.recv(65536):
                    return True
            except ConnectionError:
                return True
            except TimeoutError:
                return False


def framed(message: bytes, flag: int = 0) -> bytes:
    """Return a message in gRPC's framing: compression flag, length, bytes."""
    return bytes([flag]) + len(message).to_bytes(4, "big") + message
