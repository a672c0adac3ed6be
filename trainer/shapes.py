"""What each layer of a recipe does to the shape of an image, worked out without building a network."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from trainer.errors import RecipeError
from trainer.layers import (
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Conv2DTranspose,
    Cropping2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Layer,
    MaxPooling2D,
    Permute,
    PReLU,
    Reshape,
    SeparableConv2D,
    UpSampling2D,
    ZeroPadding2D,
)

Shape = tuple[int, ...]
PIXELS = 784
DIGITS = 10
_RANK = 3


@dataclass(frozen=True)
class Stage:
    """A layer with what goes in and out of it, for one image.

    `parameters` are trainable numbers. `receptive_field` is the square of pixels that one output sees,
    None where the image is laid out as one row.
    """

    layer: Layer
    input_shape: Shape
    output_shape: Shape
    parameters: int
    multiply_adds: int
    receptive_field: tuple[int, int] | None


def output_size(size: int, window: int, *, padding: str, stride: int, dilation: int = 1) -> int:
    """Return (input - (filter + (filter - 1)(dilation - 1)) + 2 padding) / stride + 1, rounded down.

    With padding `same` it is input / stride, rounded up.
    """
    if padding == "same":
        return math.ceil(size / stride)
    return (size - (window + (window - 1) * (dilation - 1))) // stride + 1


def stages(layers: Iterable[Layer]) -> list[Stage]:
    """Return every layer with its shapes, beginning with images of 784 pixels. Raises RecipeError."""
    done: list[Stage] = []
    shape: Shape = (PIXELS,)
    field, jump = (1, 1), (1, 1)
    for i, layer in enumerate(layers):
        try:
            after = _output_shape(layer, shape)
        except ValueError as error:
            raise RecipeError(f"layers[{i}] ({layer.kind}): {error}") from error
        field, jump = _see(layer, field, jump)
        flat = len(after) != _RANK
        stage = Stage(
            layer,
            shape,
            after,
            _parameters(layer, shape),
            _multiply_adds(layer, shape, after),
            None if flat else field,
        )
        done.append(stage)
        shape = after
    return done


def check_shapes(layers: Iterable[Layer], where: str) -> None:
    """Raise RecipeError unless the layers fit together and end in ten numbers an image."""
    try:
        last = stages(layers)
    except RecipeError as error:
        raise RecipeError(f"{where}.{error}") from error
    shape = last[-1].output_shape if last else (PIXELS,)
    if shape != (DIGITS,):
        raise RecipeError(f"{where}.layers: the last gives {shape}, expected (10,): one number a digit")


def _output_shape(layer: Layer, shape: Shape) -> Shape:
    match layer:
        case Reshape():
            if math.prod(layer.target_shape) != math.prod(shape):
                raise ValueError(f"target_shape {layer.target_shape} holds not as many numbers as {shape}")
            return layer.target_shape
        case Permute():
            if sorted(layer.dims) != list(range(1, len(shape) + 1)):
                raise ValueError(f"dims {layer.dims}, expected the numbers 1 to {len(shape)} in any order")
            return tuple(shape[axis - 1] for axis in layer.dims)
        case Flatten():
            return (math.prod(shape),)
        case Dense():
            return (*shape[:-1], layer.units)
        case _ if type(layer) in _ON_IMAGES:
            if len(shape) != _RANK:
                raise ValueError(f"gets {shape}, expected height, width and channels: reshape before it")
            after = _image_shape(layer, shape)
            if min(after) < 1:
                raise ValueError(f"does not fit into {shape}")
            return after
        case _:
            return shape


_ON_IMAGES = {
    Conv2D,
    SeparableConv2D,
    DepthwiseConv2D,
    Conv2DTranspose,
    MaxPooling2D,
    AveragePooling2D,
    GlobalMaxPooling2D,
    GlobalAveragePooling2D,
    ZeroPadding2D,
    Cropping2D,
    UpSampling2D,
}


def _image_shape(layer: Layer, shape: Shape) -> Shape:  # noqa: PLR0911  # one a kind
    height, width, channels = shape
    match layer:
        case Conv2D() | SeparableConv2D():
            return (*_slide(layer, shape), layer.filters)
        case DepthwiseConv2D():
            return (*_slide(layer, shape), channels * layer.depth_multiplier)
        case MaxPooling2D() | AveragePooling2D():
            strides = layer.strides or layer.pool_size
            sizes = zip((height, width), layer.pool_size, strides, strict=True)
            return (*(output_size(n, k, padding=layer.padding, stride=s) for n, k, s in sizes), channels)
        case Conv2DTranspose():
            sizes = zip((height, width), layer.kernel_size, layer.strides, strict=True)
            spill = layer.padding == "valid"
            return (*(n * s + (max(k - s, 0) if spill else 0) for n, k, s in sizes), layer.filters)
        case ZeroPadding2D():
            return (height + sum(layer.padding[0]), width + sum(layer.padding[1]), channels)
        case Cropping2D():
            return (height - sum(layer.cropping[0]), width - sum(layer.cropping[1]), channels)
        case UpSampling2D():
            return (height * layer.size[0], width * layer.size[1], channels)
        case _:  # global pooling
            return (channels,)


def _slide(layer: Conv2D | SeparableConv2D | DepthwiseConv2D, shape: Shape) -> Shape:
    sizes = zip(shape[:2], layer.kernel_size, layer.strides, layer.dilation_rate, strict=True)
    return tuple(output_size(n, k, padding=layer.padding, stride=s, dilation=d) for n, k, s, d in sizes)


def _parameters(layer: Layer, shape: Shape) -> int:  # noqa: PLR0911  # one a kind
    channels = shape[-1]
    match layer:
        case Dense():
            return (channels + 1) * layer.units
        case Conv2D() | Conv2DTranspose():
            return (math.prod(layer.kernel_size) * channels + 1) * layer.filters
        case DepthwiseConv2D():
            return (math.prod(layer.kernel_size) + 1) * channels * layer.depth_multiplier
        case SeparableConv2D():
            depth = channels * layer.depth_multiplier
            return math.prod(layer.kernel_size) * depth + (depth + 1) * layer.filters
        case BatchNormalization():
            return channels * (layer.center + layer.scale)
        case PReLU():
            shared = layer.shared_axes or ()
            return math.prod(size for axis, size in enumerate(shape, 1) if axis not in shared)
        case _:
            return 0


def _multiply_adds(layer: Layer, shape: Shape, after: Shape) -> int:
    """Return how often a weight is multiplied with a number; what has no weights counts nothing."""
    channels = shape[-1]
    match layer:
        case Dense():
            return math.prod(shape) * layer.units
        case Conv2D():
            return math.prod(after) * math.prod(layer.kernel_size) * channels
        case Conv2DTranspose():
            return math.prod(shape) * math.prod(layer.kernel_size) * layer.filters
        case DepthwiseConv2D():
            return math.prod(after) * math.prod(layer.kernel_size)
        case SeparableConv2D():
            depth = channels * layer.depth_multiplier
            return math.prod(after[:2]) * depth * (math.prod(layer.kernel_size) + layer.filters)
        case _:
            return 0


def _see(
    layer: Layer, field: tuple[int, int], jump: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the receptive field behind a layer, and the pixels between two neighbouring outputs."""
    match layer:
        case Conv2D() | SeparableConv2D() | DepthwiseConv2D():
            windows = [(k - 1) * d for k, d in zip(layer.kernel_size, layer.dilation_rate, strict=True)]
            strides = layer.strides
        case MaxPooling2D() | AveragePooling2D():
            windows = [k - 1 for k in layer.pool_size]
            strides = layer.strides or layer.pool_size
        case _:
            return field, jump
    grown = (field[0] + windows[0] * jump[0], field[1] + windows[1] * jump[1])
    return grown, (jump[0] * strides[0], jump[1] * strides[1])
