"""One of several processes that serve the same port; `server.supervisor` starts it."""

import asyncio
import importlib
import json
import os
import pickle
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

from server.background import BESIDE, give_way
from server.signals import hold, stop_signal

hold()  # before the imports below start threads, which would take the signals and end the process
# A terminal's Ctrl-C is for the supervisor alone. Not a session of its own: a kernel that shares out time by session
# (sched_autogroup) would not see that one worker gives way to another.
os.setpgrp()


def import_apart() -> None:
    """Import on a thread that gives way: most of a start's work, while other workers answer calls."""
    give_way()
    importlib.import_module("server.serve")


if sys.argv[1:] == [BESIDE]:
    importing = threading.Thread(target=import_apart)
    importing.start()
    importing.join()

import uvloop
from prometheus_client import values

from server.errors import StartError
from server.joined_metrics import reserve, worker_values
from server.log import configure
from server.models import Models
from server.ports import Ports
from server.serve import Answering
from server.supervisor import BEAT_SECONDS, Job
from server.tuning import Tuning


def main() -> int:
    """Serve the job on standard input until a signal, or the end of standard input."""
    job: Job = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own supervisor  # nosec B301
    configure(job.settings.log_format, job.settings.log_level, lambda item: tell("news", asdict(item)))
    # Metrics go to files named by the place, so that the next process in it goes on with them.
    values.ValueClass = worker_values(job.slot, partial(tell, "exemplar"))
    try:
        reserve(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]), job.slot)
        uvloop.run(work(job))
    except StartError as error:
        print(f"digit-server: worker {job.slot}: {error}", file=sys.stderr)  # noqa: T201 - why it ended
        return 1
    return 0


def tell(kind: str, content: object) -> None:
    """Write a line to the supervisor; one that is gone is noticed elsewhere."""
    with suppress(OSError):
        sys.stdout.write(json.dumps([kind, content]) + "\n")
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
    answering = Answering(job.settings, {name: Tuning(**each) for name, each in job.tunings.items()})
    beating: list[asyncio.Task[None]] = []  # a task that nobody holds may vanish

    def ready(_: Ports) -> None:
        for model, tuning in answering.tunings.items():
            tell("tuning", [model, asdict(tuning)])
        beating.append(asyncio.create_task(beat(answering.models)))

    await answering.run(stop, ready, shared=job.ports, turn_seconds=job.turn_seconds)


async def beat(models: Models) -> None:
    """Tell of each second: the first says that this worker is ready, the others that it still works."""
    while True:
        if models.alive:
            tell("beat", None)
        await asyncio.sleep(BEAT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
