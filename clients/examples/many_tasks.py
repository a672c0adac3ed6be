"""Many tasks with one image each share calls: `python -m clients.examples.many_tasks`."""

import asyncio
import os

import numpy as np

from clients import AsyncClient


async def main() -> None:
    """Ask about a thousand images at once."""
    images = np.random.default_rng(0).integers(0, 256, (1000, 28, 28), np.uint8)
    async with AsyncClient(os.environ.get("DIGITS_SERVER", "localhost:8500"), coalesce=True) as client:
        answers = await asyncio.gather(*(client.predict(image) for image in images))
    shared = max(prediction.timing.batch_images for (prediction,) in answers)
    print(f"{len(answers)} answers, up to {shared} images in one batch")


asyncio.run(main())
