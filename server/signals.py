"""The signals that a server understands: those that stop it, and those that make it tell more."""

import asyncio
import signal
import threading
from collections.abc import Callable, Mapping

# What they ask for can be done while the event loop is stuck, on a thread that waits for them.
ASKING = (signal.SIGUSR1, signal.SIGUSR2)


def stop_signal() -> asyncio.Future[signal.Signals]:
    """Return a future of the first SIGTERM or SIGINT; a second one ends the process at once."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[signal.Signals] = loop.create_future()

    def received(signum: signal.Signals) -> None:
        if not stop.done():
            stop.set_result(signum)
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, received, signum)
    return stop


def hold() -> None:
    """Keep SIGUSR1 and SIGUSR2 until somebody answers them; call it before there is a second thread."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)


def answer_signals(answers: Mapping[signal.Signals, Callable[[], object]]) -> None:
    """Call what `answers` has for each SIGUSR1 and SIGUSR2, on a thread of its own, from now on."""

    def wait() -> None:
        while True:
            answers[signal.Signals(signal.sigwait(ASKING))]()

    threading.Thread(target=wait, name="signals", daemon=True).start()
