"""Work beside the serving of calls, and how to keep it out of their way."""

import asyncio
import ctypes
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")

# Nice enough that a core which serves is hardly shared: docs/versions.md has what callers notice.
NICENESS = 10
# What a worker is told that starts while others serve.
BESIDE = "--beside"


async def run_apart(function: Callable[[], Result]) -> Result:
    """Call `function` on a thread of its own, which may lower its priority without lowering another's."""
    executor = ThreadPoolExecutor(1, "apart")
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, function)
    finally:
        executor.shutdown(wait=False)


def give_way() -> None:
    """Let this thread run when nothing else wants the core; it cannot go back."""
    if sys.platform == "linux":  # where a thread has a priority of its own
        with suppress(OSError):  # a sandbox that knows no priorities
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def return_memory() -> None:
    """Give the system what the allocator keeps of a version that is gone; glibc would keep most of it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
