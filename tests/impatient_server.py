"""A server that pings silent connections after half a second instead of a minute."""

from server.cli import run
from server.rpc import connections
from tests.process import RunningServer


class ImpatientServer(RunningServer):
    """Run the server."""

    module = "tests.impatient_server"


if __name__ == "__main__":
    connections.HANDSHAKE_SECONDS = connections.SILENCE_SECONDS = 0.5
    run()
