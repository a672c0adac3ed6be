"""The layer kinds a recipe may stack: one frozen dataclass each, its fields are the TOML keys."""

from dataclasses import dataclass
from typing import Annotated, Literal

from trainer.schema import Count, Range, Size

Activation = Literal["linear", "relu", "softmax"]
Padding = Literal["valid", "same"]


@dataclass(frozen=True)
class Rescaling:
    """Multiply by `scale`; 1/255 brings pixels to 0-1."""

    scale: float


@dataclass(frozen=True)
class Reshape:
    """Give each image another shape of as many numbers."""

    shape: tuple[Count, ...]


@dataclass(frozen=True)
class Conv2D:
    """Slide `filters` kernels over the image.

    `normalize` adds batch normalization while training; it is folded into the kernel at export, so the
    served layer has the same shape and as many parameters as one without.
    """

    filters: Count
    size: Size = (3, 3)
    stride: Size = (1, 1)
    dilation: Size = (1, 1)
    padding: Padding = "valid"
    activation: Activation = "linear"
    normalize: bool = False


@dataclass(frozen=True)
class MaxPooling2D:
    """Keep the largest value of each window."""

    size: Size = (2, 2)


@dataclass(frozen=True)
class Flatten:
    """Lay each image out as one row."""


@dataclass(frozen=True)
class Dropout:
    """Silence this fraction of the inputs while training."""

    rate: Annotated[float, Range(0, 0.95)]


@dataclass(frozen=True)
class Dense:
    """Connect every input with each of `units` outputs."""

    units: Count
    activation: Activation = "linear"


Layer = Rescaling | Reshape | Conv2D | MaxPooling2D | Flatten | Dropout | Dense

KINDS: dict[str, type[Layer]] = {
    "rescaling": Rescaling,
    "reshape": Reshape,
    "conv2d": Conv2D,
    "max_pooling2d": MaxPooling2D,
    "flatten": Flatten,
    "dropout": Dropout,
    "dense": Dense,
}
