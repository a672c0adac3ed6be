"""A server that notices a silent connection within half a second instead of a minute."""

from server.cli import run
from server.rpc import connections
from tests.process import RunningServer


class ImpatientServer(RunningServer):
    """What tests start."""

    module = "tests.impatient_server"


if __name__ == "__main__":
    connections.HANDSHAKE_SECONDS = connections.SILENCE_SECONDS = 0.5
    run()
