"""What every thread, task and queue is doing, in the log: for a server that seems stuck.

It runs on a thread of its own, so it works while the event loop does not.
"""

import asyncio
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Mapping

import structlog

from server.metrics import Queue

MAX_PLACES = 50

log = structlog.get_logger()


def write(loop: asyncio.AbstractEventLoop, queues: Mapping[str, Queue]) -> None:
    """Log the stack of each thread, where the tasks of `loop` wait, and the state of each queue by its name."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented, for this purpose
        stack = "".join(traceback.format_stack(frame)).rstrip("\n")
        log.info("thread", name=names.get(ident, str(ident)), stack=stack)
    tasks = asyncio.all_tasks(loop)
    places = Counter(map(_place, tasks))
    log.info("tasks", tasks=len(tasks), waiting_at=dict(places.most_common(MAX_PLACES)))
    for name, queue in queues.items():
        log.info(
            "queue",
            name=name,
            queued_images=queue.queued_images,
            inflight_images=queue.inflight_images,
            oldest_seconds=round(queue.oldest_seconds, 6),
        )


def _place(task: "asyncio.Task[object]") -> str:
    """Return a task's coroutine and the innermost line of it that waits."""
    name = getattr(task.get_coro(), "__qualname__", task.get_name())
    stack = task.get_stack(limit=1)
    return f"{name} at {stack[-1].f_code.co_filename}:{stack[-1].f_lineno}" if stack else name
