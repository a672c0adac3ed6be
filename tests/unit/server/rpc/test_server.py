"""The loop on the completion queue."""

from types import SimpleNamespace
from typing import Any

import pytest

from server.errors import StartError
from server.rpc import connections
from server.rpc import server as rpc_server
from server.rpc.server import USED_NAMES, Loop
from server.settings import Settings


@pytest.mark.parametrize("missing", [*USED_NAMES[:2], "everything"])
def test_grpcio_that_lacks_what_is_used_ends_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    names = {} if missing == "everything" else {name: object for name in USED_NAMES if name != missing}
    monkeypatch.setattr(rpc_server, "cygrpc", SimpleNamespace(**names))
    lacked = USED_NAMES[0] if missing == "everything" else missing
    with pytest.raises(
        StartError, match=rf"^grpcio [\d.]+ lacks cygrpc.{lacked}: install another version of it$"
    ):
        Loop(lambda _: None)


def test_defect_in_the_handling_of_an_event_ends_no_other_call(serve: Any) -> None:
    def broken(handler: Any) -> None:
        accept = handler.accept

        def accept_or_raise(rpc: Any) -> None:
            if rpc.path == b"/a/defect":
                raise RuntimeError("a defect")
            accept(rpc)

        handler.accept = accept_or_raise

    with serve(broken) as running:
        running.channel().unary_unary("/a/defect").future(b"")
        with pytest.raises(Exception, match="no such method"):
            running.channel().unary_unary("/a/method")(b"", timeout=30)


def limited(monkeypatch: pytest.MonkeyPatch, files: int) -> dict[str, int]:
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _: (files, files))
    monkeypatch.setattr(connections.resource, "setrlimit", lambda *_: None)
    return dict(connections.channel_arguments(Settings(), 1_000_000))


def test_limit_on_open_files_that_leaves_no_connection_ends_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(StartError, match="the limit on open files is 64, expected more than 64"):
        limited(monkeypatch, 64)


def test_limit_on_open_files_bounds_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = limited(monkeypatch, 100)
    assert arguments["grpc.max_allowed_incoming_connections"] == 100 - connections.OTHER_FILES
    arguments = limited(monkeypatch, 1_000_000)
    assert arguments["grpc.max_allowed_incoming_connections"] == Settings().max_connections
