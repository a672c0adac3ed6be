"""The layer kinds a recipe may stack.

Each is a frozen dataclass with the name and the arguments of the Keras layer it becomes, so a recipe, a
Keras architecture file and a Keras network say the same in the same words.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from trainer.schema import Count, NotNegative, Range, Share, Size

Activation = Literal[
    "linear",
    "relu",
    "elu",
    "selu",
    "silu",
    "tanh",
    "sigmoid",
    "hard_sigmoid",
    "softplus",
    "softsign",
    "exponential",
    "softmax",
]
Padding = Literal["valid", "same"]
Natural = Annotated[int, Range(low=0)]
Edges = tuple[tuple[Natural, Natural], tuple[Natural, Natural]]
"""Rows at the top and bottom, columns at the left and right."""


@dataclass(frozen=True)
class Rescaling:
    """Multiply by `scale`; 1/255 brings pixels to 0-1."""

    kind: ClassVar = "rescaling"
    scale: float
    offset: float = 0.0


@dataclass(frozen=True)
class Reshape:
    """Give each image another shape of as many numbers."""

    kind: ClassVar = "reshape"
    target_shape: tuple[Count, ...]


@dataclass(frozen=True)
class Permute:
    """Reorder the axes, counted from 1."""

    kind: ClassVar = "permute"
    dims: tuple[Count, ...]


@dataclass(frozen=True)
class Flatten:
    """Lay each image out as one row."""

    kind: ClassVar = "flatten"


@dataclass(frozen=True)
class Conv2D:
    """Slide `filters` kernels over the image.

    `normalize` adds batch normalization while training; it is folded into the kernel at export, so the
    served layer has the same shape and as many parameters as one without.
    """

    kind: ClassVar = "conv2d"
    filters: Count
    kernel_size: Size = (3, 3)
    strides: Size = (1, 1)
    padding: Padding = "valid"
    dilation_rate: Size = (1, 1)
    activation: Activation = "linear"
    normalize: bool = False


@dataclass(frozen=True)
class SeparableConv2D:
    """Convolve each channel on its own, then mix the channels."""

    kind: ClassVar = "separable_conv2d"
    filters: Count
    kernel_size: Size = (3, 3)
    strides: Size = (1, 1)
    padding: Padding = "valid"
    dilation_rate: Size = (1, 1)
    depth_multiplier: Count = 1
    activation: Activation = "linear"


@dataclass(frozen=True)
class DepthwiseConv2D:
    """Convolve each channel on its own."""

    kind: ClassVar = "depthwise_conv2d"
    kernel_size: Size = (3, 3)
    strides: Size = (1, 1)
    padding: Padding = "valid"
    dilation_rate: Size = (1, 1)
    depth_multiplier: Count = 1
    activation: Activation = "linear"


@dataclass(frozen=True)
class Conv2DTranspose:
    """Convolve backwards: each pixel paints a kernel."""

    kind: ClassVar = "conv2d_transpose"
    filters: Count
    kernel_size: Size = (3, 3)
    strides: Size = (1, 1)
    padding: Padding = "valid"
    activation: Activation = "linear"


@dataclass(frozen=True)
class MaxPooling2D:
    """Keep the largest value of each window."""

    kind: ClassVar = "max_pooling2d"
    pool_size: Size = (2, 2)
    strides: Size | None = None
    padding: Padding = "valid"


@dataclass(frozen=True)
class AveragePooling2D:
    """Keep the mean of each window."""

    kind: ClassVar = "average_pooling2d"
    pool_size: Size = (2, 2)
    strides: Size | None = None
    padding: Padding = "valid"


@dataclass(frozen=True)
class GlobalMaxPooling2D:
    """Keep the largest value of each channel."""

    kind: ClassVar = "global_max_pooling2d"


@dataclass(frozen=True)
class GlobalAveragePooling2D:
    """Keep the mean of each channel."""

    kind: ClassVar = "global_average_pooling2d"


@dataclass(frozen=True)
class ZeroPadding2D:
    """Put zeros around the image."""

    kind: ClassVar = "zero_padding2d"
    padding: Edges


@dataclass(frozen=True)
class Cropping2D:
    """Cut the image's edges off."""

    kind: ClassVar = "cropping2d"
    cropping: Edges


@dataclass(frozen=True)
class UpSampling2D:
    """Repeat rows and columns."""

    kind: ClassVar = "up_sampling2d"
    size: Size = (2, 2)
    interpolation: Literal["nearest", "bilinear"] = "nearest"


@dataclass(frozen=True)
class Dense:
    """Connect every input with each of `units` outputs."""

    kind: ClassVar = "dense"
    units: Count
    activation: Activation = "linear"


@dataclass(frozen=True)
class ActivationLayer:
    """Apply a function to every number."""

    kind: ClassVar = "activation"
    activation: Activation


@dataclass(frozen=True)
class ReLU:
    """Cut off below zero, and above `max_value` where it is given."""

    kind: ClassVar = "relu"
    max_value: NotNegative | None = None


@dataclass(frozen=True)
class LeakyReLU:
    """Shrink what is below zero."""

    kind: ClassVar = "leaky_relu"
    negative_slope: NotNegative = 0.3


@dataclass(frozen=True)
class PReLU:
    """Shrink what is below zero, by as much as training finds best for each channel."""

    kind: ClassVar = "prelu"
    shared_axes: tuple[Count, ...] | None = None


@dataclass(frozen=True)
class ELU:
    """Bend what is below zero towards -alpha."""

    kind: ClassVar = "elu"
    alpha: NotNegative = 1.0


@dataclass(frozen=True)
class Softmax:
    """Turn numbers into probabilities."""

    kind: ClassVar = "softmax"


@dataclass(frozen=True)
class BatchNormalization:
    """Normalize each channel, as a layer of its own in the served graph; `normalize` of conv2d is cheaper."""

    kind: ClassVar = "batch_normalization"
    momentum: Share = 0.99
    epsilon: NotNegative = 1e-3
    center: bool = True
    scale: bool = True


@dataclass(frozen=True)
class Dropout:
    """Silence this fraction of the inputs while training."""

    kind: ClassVar = "dropout"
    rate: Annotated[float, Range(0, 0.95)]


@dataclass(frozen=True)
class GaussianNoise:
    """Add noise of this standard deviation while training."""

    kind: ClassVar = "gaussian_noise"
    stddev: NotNegative


Layer = (
    Rescaling
    | Reshape
    | Permute
    | Flatten
    | Conv2D
    | SeparableConv2D
    | DepthwiseConv2D
    | Conv2DTranspose
    | MaxPooling2D
    | AveragePooling2D
    | GlobalMaxPooling2D
    | GlobalAveragePooling2D
    | ZeroPadding2D
    | Cropping2D
    | UpSampling2D
    | Dense
    | ActivationLayer
    | ReLU
    | LeakyReLU
    | PReLU
    | ELU
    | Softmax
    | BatchNormalization
    | Dropout
    | GaussianNoise
)
