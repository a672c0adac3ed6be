"""`make fuzz`: nearly valid inputs to a real server; fails on anything but a status that blames the caller.

Nine of ten inputs are messages to every method over a gRPC channel, the tenth is the bytes of a connection.
Now and then a valid request must get the right answer, and file descriptors and memory are checked.
FUZZ_INPUTS is the number of inputs, FUZZ_SEED the seed.
"""

import asyncio
import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress

import grpc
import psutil

from clients.client import Client
from tests.fuzz.inputs import METHODS, TELLTALE, mutated, transcript
from tests.load import IMAGE
from tests.process import RunningServer, running

INPUTS = int(os.environ.get("FUZZ_INPUTS", "100000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
IN_FLIGHT = 32
ROUND = 1000
# Statuses for errors of the caller; others mean a defect of the server.
UNFAIR = {
    "INTERNAL",
    "UNKNOWN",
    "DATA_LOSS",
    "CANCELLED",
    "DEADLINE_EXCEEDED",
    "UNAVAILABLE",
    "wrong digit",
    "file left open",
}
# Memory is compared with that after a tenth of the inputs, when allocators' pools have filled.
MOST_GROWTH = 1.1
# Tenths of a second until the last connections must be closed: gRPC keeps the file descriptors of some that
# ended in their first frames until the keepalive ping.
CLOSING_ROUNDS = 700


async def main() -> int:
    """Run the fuzzer; return 1 if anything is wrong."""
    choose = random.Random(SEED)
    with tempfile.TemporaryDirectory() as folder, running(env={"TMPDIR": folder}) as server:
        outcomes, memory = await fuzz(server, choose)
        traces = [line for line in server.lines if "Traceback" in line or TELLTALE in line]
    unfair = {outcome: count for outcome, count in outcomes.items() if outcome in UNFAIR}
    growth = memory[-1] / memory[len(memory) // 10]
    print(
        f"seed {SEED}: {dict(outcomes.most_common())}; memory "
        f"{' '.join(f'{each:.0f}' for each in memory[:: max(len(memory) // 10, 1)])} MB"
    )
    print(f"unfair {unfair}, tracebacks or payloads in the log {len(traces)}, memory x{growth:.3f}")
    for line in traces[:3]:
        print(line[:2000])
    return int(bool(unfair or traces or growth > MOST_GROWTH))


async def fuzz(server: RunningServer, choose: random.Random) -> tuple[Counter[str], list[float]]:
    """Send all inputs; return the number of each outcome, and the server's memory in MB over time."""
    outcomes: Counter[str] = Counter()
    process = psutil.Process(server.process.pid)
    memory, started = [], time.monotonic()

    def report(sent: int) -> None:
        seconds = time.monotonic() - started
        print(f"{sent} inputs, {seconds:.0f} s, {memory[-1]:.0f} MB, {process.num_fds()} files", flush=True)

    with Client(server.address) as client:
        digit = client.predict(IMAGE)[0].digit
        async with grpc.aio.insecure_channel(server.address) as channel:
            # Opens files that the server keeps open.
            await send(channel, server.grpc_port, choose, ROUND, outcomes)
        files = process.num_fds()
        async with grpc.aio.insecure_channel(server.address) as channel:
            for sent in range(0, INPUTS, ROUND):
                await send(channel, server.grpc_port, choose, min(ROUND, INPUTS - sent), outcomes)
                if client.predict(IMAGE)[0].digit != digit:
                    outcomes["wrong digit"] += 1
                memory.append(process.memory_info().rss / 1e6)
                if sent % (20 * ROUND) == 0:
                    report(sent + ROUND)
        left = await closed(process, files)
        if left > 0:
            outcomes["file left open"] = left
        report(INPUTS)
    return outcomes, memory


async def closed(process: psutil.Process, before: int) -> int:
    """Wait until the last connections are closed; return the number of additional open files."""
    for _ in range(CLOSING_ROUNDS):
        if process.num_fds() <= before:
            break
        await asyncio.sleep(0.1)
    left: int = process.num_fds() - before
    return left


async def send(
    channel: grpc.aio.Channel, port: int, choose: random.Random, count: int, outcomes: Counter[str]
) -> None:
    """Send `count` inputs, a few at a time."""
    room = asyncio.Semaphore(IN_FLIGHT)

    async def one(path: str, messages: list[bytes]) -> None:
        async with room:
            outcomes[await status(channel, path, messages)] += 1

    async def connection(content: bytes) -> None:
        async with room:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(content)
            with suppress(ConnectionError):
                await writer.drain()
            writer.close()
            outcomes["connection"] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            if number % 10 == 0:
                group.create_task(connection(transcript(choose)))
            else:
                path, samples = choose.choice(list(METHODS.items()))
                several = choose.choice([1, 1, 1, 2])
                messages = [mutated(choose.choice(samples), choose) for _ in range(several)]
                group.create_task(one(path, messages))


async def status(channel: grpc.aio.Channel, path: str, messages: list[bytes]) -> str:
    """Call with raw bytes and return the status; a watch ends with its first answer."""
    call = channel.stream_stream(path)(iter(messages), timeout=60)
    try:
        async for _ in call:
            if path.endswith("/Watch"):
                call.cancel()
                return "OK"
    except grpc.aio.AioRpcError as error:
        # The client's own error, if the server answered before the last message was sent.
        ended = error.details() == "Internal error from Core"
        return "ended early" if ended else error.code().name
    return "OK"


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
