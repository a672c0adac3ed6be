"""Sizes of runs and batches, measured once and constant, so every worker uses the same.

The data plane does nothing else while a batch is computed. A batch is split into runs whose activations fit
the caches. Images per second by images in a run, on one core of a server CPU with AVX-512 VNNI:

    graph               1       8      16      32      64     256
    digits float    13,600  15,600  16,000  15,700  14,000  12,000
    digits 8-bit    24,800  35,800  37,000  38,000  38,500  34,800
    fast float      47,600  78,400  82,200  84,300  86,000  86,500
    fast 8-bit      59,100 138,000 150,000 158,000 165,000 166,000
    accurate float   2,830   2,970   2,960   2,970   2,950   2,910
    accurate 8-bit   8,020   9,340   9,460   9,260   8,950   8,540

Another CPU runs the float graph of `digits` 7 % slower with 16 images in a run than with 8.
"""

from typing import Literal, NamedTuple

from server import machine


class Sizes(NamedTuple):
    """Maximum number of images in one run of the graph, and in one batch."""

    run_images: int
    batch_images: int


# A batch takes at most 30 ms with the largest shipped graph.
CPU_SIZES: dict[str, Sizes] = {"float32": Sizes(8, 128), "int8": Sizes(32, 256)}
# OpenVINO also computes on the CPU's cores, but splits a run among them.
OPENVINO_SIZES = Sizes(64, 256)
# A GPU needs large runs: copying to it costs as much as computing hundreds of images.
GPU_SIZES = Sizes(1024, 1024)


def sizes(provider: str, precision: str, max_batch_images: int) -> Sizes:
    """Return the sizes for a graph on a provider, capped by `max_batch_images` unless that is 0."""
    chosen = {"cpu": CPU_SIZES[precision], "openvino": OPENVINO_SIZES}.get(provider, GPU_SIZES)
    cap = max_batch_images or chosen.batch_images
    return Sizes(min(chosen.run_images, cap), cap)


def padded(images: int, run_images: int) -> int:
    """Return the run size that computes `images`: the next power of two, at most the largest run.

    Providers that compile or allocate for each size need few sizes, all warmed up.
    """
    return min(1 << (images - 1).bit_length(), run_images)


def warm_sizes(run_images: int) -> list[int]:
    """Return the run sizes to warm up, smallest first."""
    return sorted({padded(1 << exponent, run_images) for exponent in range(run_images.bit_length() + 1)})


def prefers_int8(provider: str, precision: Literal["auto", "float32"]) -> bool:
    """Tell whether the CPU has instructions for 8-bit graphs."""
    return precision == "auto" and provider == "cpu" and machine.has_int8_instructions()
