"""How a graph is run: on how many threads, how many images at a time. What is not set is measured."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from server import cpus
from server.background import return_memory
from server.calibration import Measured, best_batch, best_run, measure
from server.manifest import RefusedError
from server.session import Session, first_line

# The largest run that is tried: past it a CPU's caches overflow, while a GPU only begins to be busy.
LARGEST_CPU_RUN, LARGEST_GPU_RUN = 256, 4096
# More threads must be worth the cores that they take from others.
WORTH_THREADS = 1.3

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tuning:
    """The choices; 0 is measured."""

    threads: int = 1  # that compute one run
    batch_images: int = 0  # most images that share a batch
    run_images: int = 0  # most images in one run of the graph; a batch may be several

    @property
    def complete(self) -> bool:
        """Whether nothing is left to measure."""
        return bool(self.threads and self.batch_images and self.run_images)


def tune(name: str, tuning: Tuning, trial: Callable[[int], Session]) -> Tuning:
    """Measure what `tuning` leaves open; `trial` opens the graph `name` on a number of threads.

    What is measured is measured on sessions of their own, whose memory goes with them.

    Raises:
        RefusedError: the graph cannot be opened or run.

    """
    if tuning.complete:
        return tuning
    chosen, chosen_rate = tuning, 0.0
    for threads in [tuning.threads] if tuning.threads else sorted({1, cpus.available()}):
        session = trial(threads)
        largest = LARGEST_CPU_RUN if session.runtime.provider == "cpu" else LARGEST_GPU_RUN
        largest = tuning.batch_images or largest
        powers = [1 << exponent for exponent in range(largest.bit_length())]
        table = tried(session, [tuning.run_images] if tuning.run_images else powers)
        del session
        run = best_run(table)
        batch_images = tuning.batch_images or best_batch(run)
        log.info(
            "model measured",
            model=name,
            threads=threads,
            images_per_second={each.images: round(each.images_per_second) for each in table},
            run_images=run.images,
            batch_images=batch_images,
        )
        if run.images_per_second > WORTH_THREADS * chosen_rate:
            chosen, chosen_rate = Tuning(threads, batch_images, run.images), run.images_per_second
    return_memory()
    return chosen


def tried(session: Session, sizes: list[int]) -> list[Measured]:
    """Measure a session for runs of `sizes`, in images.

    Raises:
        RefusedError: it cannot be run.

    """
    try:
        return measure(session.run, sizes)
    except Exception as error:  # noqa: BLE001 - as many types as for opening
        raise RefusedError(f"{session.file} cannot be run: {first_line(error)}") from None
