"""Signals, received on a thread of their own, so that they work even if the data plane is stuck."""

import faulthandler
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable

import structlog

from server.observability.logs import toggle_debug

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

log = structlog.get_logger()


def block() -> None:
    """Block all handled signals until the thread receives them.

    Call it before starting threads. Workers inherit the mask, so no signal reaches one too early.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)


def die_of(signum: signal.Signals) -> None:
    """End the process as the signal's default action would."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signum])
    os.kill(os.getpid(), signum)
    os._exit(128 + signum)  # process 1 of a container ignores default actions


class Signals:
    """Signal handling: SIGTERM and SIGINT end the process at once until `stop_gracefully` is called.

    `hangup`, `diagnosed` and `debug_toggled` are called on the signal thread.
    """

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.received = signal.SIGINT  # the signal's name
        self.hangup: Callable[[], object] = lambda: None
        self.diagnosed: Callable[[], object] = lambda: None
        self.debug_toggled: Callable[[], object] = lambda: None
        self._graceful = False
        self._on_stop: Callable[[], object] = lambda: None
        threading.Thread(target=self._receive, name="signals", daemon=True).start()

    def stop_gracefully(self, on_stop: Callable[[], object] = lambda: None) -> None:
        """Let the first SIGTERM or SIGINT set `stopping` and call `on_stop`, the second end the process."""
        self._on_stop = on_stop
        self._graceful = True

    def stop(self, signum: signal.Signals) -> None:
        """Handle SIGTERM or SIGINT."""
        if not self._graceful or self.stopping.is_set():
            die_of(signum)
        self.received = signum
        self.stopping.set()
        self._on_stop()

    def _receive(self) -> None:
        while True:
            signum = signal.Signals(signal.sigwait(HANDLED))
            try:
                self._handle(signum)
            except Exception:
                log.exception("a signal could not be handled", signal=signum.name)

    def _handle(self, signum: signal.Signals) -> None:
        match signum:
            case signal.SIGHUP:
                self.hangup()
            case signal.SIGUSR1:
                log_threads()
                self.diagnosed()
            case signal.SIGUSR2:
                toggle_debug()
                self.debug_toggled()
            case _:
                self.stop(signum)


def log_threads() -> None:
    """Log the stacks of all threads as one event, so lines of other processes cannot interleave."""
    # In memory: the file system may be read-only.
    in_memory = sys.platform == "linux"
    with os.fdopen(os.memfd_create("stacks"), "w+") if in_memory else tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        stack = file.read().rstrip("\n")
    names = {f"{thread.ident:#018x}": thread.name for thread in threading.enumerate()}
    log.info("threads", names=names, stack=stack)
