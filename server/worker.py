"""One of several processes that serve the same port; `server.supervisor` starts it."""

import asyncio
import os
import pickle
import signal
import sys
from contextlib import suppress
from pathlib import Path

from server.signals import hold, stop_signal

hold()  # before the imports below start threads, which would take the signals and end the process

import uvloop
from prometheus_client import values

from server.errors import StartError
from server.joined_metrics import reserve, worker_values
from server.log import configure
from server.models import Models
from server.news import line
from server.serve import Answering
from server.supervisor import BEAT, BEAT_SECONDS, Job


def main() -> int:
    """Serve the job on standard input until a signal, or the end of standard input."""
    job: Job = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own supervisor  # nosec B301
    configure(job.settings.log_format, job.settings.log_level, lambda item: tell(line(item) + "\n"))
    # Metrics go to files named by the place, so that the next process in it goes on with them.
    values.ValueClass = worker_values(job.slot, tell)
    try:
        reserve(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]), job.slot)
        uvloop.run(work(job))
    except StartError as error:
        print(f"digit-server: worker {job.slot}: {error}", file=sys.stderr)  # noqa: T201 - why it ended
        return 1
    return 0


def tell(text: str) -> None:
    """Write to the supervisor; one that is gone is noticed elsewhere."""
    with suppress(OSError):
        sys.stdout.write(text)
        sys.stdout.flush()


async def work(job: Job) -> None:
    """Answer calls on the shared port, for as long as the supervisor lives."""
    stop = stop_signal()

    def supervisor_gone() -> None:
        if stop.done():
            os._exit(1)  # nobody waits for the end of this stop any more
        stop.set_result(signal.SIGINT)
        asyncio.get_running_loop().remove_reader(sys.stdin)

    asyncio.get_running_loop().add_reader(sys.stdin, supervisor_gone)
    answering = Answering(job.settings)
    beating: list[asyncio.Task[None]] = []  # a task that nobody holds may vanish
    await answering.run(
        stop,
        lambda _: beating.append(asyncio.create_task(beat(answering.models))),
        shared=job.ports,
    )


async def beat(models: Models) -> None:
    """Write a line now and then: the first says that this worker is ready, the others that it still works."""
    while True:
        if models.alive:
            tell(BEAT.decode())
        await asyncio.sleep(BEAT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
