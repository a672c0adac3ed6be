"""Load on one bidirectional stream of single images: `python -m tests.bench.stream_load PORT MESSAGES`.

Prints messages per second, with a constant number of requests in flight.
"""

import asyncio
import sys
import time

import grpc
import uvloop

from protos.digits.v1 import prediction_pb2 as pb
from tests.bench.processes import random_images

INFLIGHT = 256


async def main(port: int, messages: int) -> None:
    """Send `messages` requests, read as many answers."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_stream("/digits.v1.PredictionService/PredictStream")()
        request = pb.PredictRequest(images=random_images(1)).SerializeToString()
        room = asyncio.Semaphore(INFLIGHT)

        async def send() -> None:
            for _ in range(messages):
                await room.acquire()
                await call.write(request)
            await call.done_writing()

        started = time.monotonic()
        sender = asyncio.create_task(send())
        answers = 0
        async for _ in call:
            answers += 1
            room.release()
        await sender
        if answers != messages:
            raise RuntimeError(f"{answers} answers to {messages} requests")
        print(messages / (time.monotonic() - started))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
