"""The shipped models on unseen corruptions, other digits and out-of-distribution images.

    python -m tests.bench.unseen [MODEL.onnx ...]

Validation images are corrupted, so that recipes may be chosen by the results. Needs MNIST in DIGITS_DATA_DIR.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from scipy.interpolate import CubicSpline
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from trainer.data.augment import augment
from trainer.data.dataset import load_data, split_validation
from trainer.export.predictor import onnx_predictor
from trainer.recipe import Augment
from trainer.report.scores import score

MODELS = Path(__file__).parents[2] / "server" / "models"
IMAGES, SIDE, WHITE = 1500, 28, 255
# No shipped recipe trains on these: larger fractions hold these images apart, and more.
VALIDATION_FRACTION = 0.05
# The clients say "not sure" below the first, and "probably not a digit" below the second.
DOUBTS = (0.8, 0.4)
# Slightly varied copies of the validation images: eight times as many answers, so smaller differences show.
COPIES = 8
VARIED = Augment(shift_pixels=0.7, rotate_degrees=6, scale=0.06, shear=0.06, elastic_pixels=0.4)
LETTERS = "ACEFHJKLMNPRTUVWXacdefhkmnprtuvwx"  # without letters that look like a digit
FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "DejaVuSans-Bold", "DejaVuSans-Oblique")

Pixels = NDArray[np.float64]


def clouds(count: int, rng: np.random.Generator, slope: float) -> Pixels:
    """Noise [n, 28, 28] in 0-1 whose amplitude falls with this power of the frequency."""
    frequency = np.fft.fftfreq(SIDE)
    radius = np.hypot(frequency[:, None], frequency[None])
    radius[0, 0] = 1 / SIDE
    field = np.real(np.fft.ifft2(np.fft.fft2(rng.normal(size=(count, SIDE, SIDE))) / radius**slope))
    low, high = field.min((1, 2), keepdims=True), field.max((1, 2), keepdims=True)
    return np.asarray((field - low) / (high - low))


def shot(images: Pixels, rng: np.random.Generator) -> Pixels:
    """Photon noise of six photons at white."""
    return np.asarray(rng.poisson(images / WHITE * 6) / 6 * WHITE)


def fog(images: Pixels, rng: np.random.Generator) -> Pixels:
    """Half-opaque clouds in front."""
    return images / 2 + WHITE / 2 * clouds(len(images), rng, 1.2)


def spatter(images: Pixels, rng: np.random.Generator) -> Pixels:
    """Drops on an eighth of the image, all black or all white."""
    drops = ndimage.gaussian_filter(rng.normal(size=images.shape), (0, 1.2, 1.2))
    wet = drops > np.quantile(drops, 0.88, axis=(1, 2), keepdims=True)
    return np.where(wet, WHITE * rng.integers(0, 2, (len(images), 1, 1)), images)


def dotted(images: Pixels, rng: np.random.Generator) -> Pixels:
    """Three dotted lines across."""
    drawn = []
    for image in images:
        picture = Image.fromarray(np.uint8(image))
        for start, end in rng.uniform(0, SIDE, (3, 2, 2)):
            for share in np.arange(0, 1, 0.12):
                x, y = start + (end - start) * share
                ImageDraw.Draw(picture).ellipse((x - 0.6, y - 0.6, x + 0.6, y + 0.6), fill=WHITE)
        drawn.append(np.asarray(picture, float))
    return np.stack(drawn)


def glass(images: Pixels, rng: np.random.Generator) -> Pixels:
    """Each pixel replaced by one up to two pixels away."""
    places = np.mgrid[:SIDE, :SIDE][:, None] + np.rint(rng.uniform(-1.5, 1.5, (2, *images.shape))).astype(int)
    y, x = np.clip(places, 0, SIDE - 1)
    return images[np.arange(len(images))[:, None, None], y, x]


def motion(images: Pixels, rng: np.random.Generator) -> Pixels:
    """Blurred over seven pixels in one direction."""
    blurred = []
    for image, angle in zip(images, rng.uniform(0, np.pi, len(images)), strict=True):
        kernel = np.zeros((7, 7))
        steps = np.linspace(-3, 3, 28)
        kernel[
            np.rint(3 + steps * np.sin(angle)).astype(int), np.rint(3 + steps * np.cos(angle)).astype(int)
        ] = 1
        blurred.append(ndimage.convolve(image, kernel / kernel.sum(), mode="constant"))
    return np.stack(blurred)


def coarse(images: Pixels, _rng: np.random.Generator) -> Pixels:
    """Scanned at 10x10 and enlarged."""
    small = [Image.fromarray(np.uint8(each)).resize((10, 10), Image.Resampling.BOX) for each in images]
    return np.stack([np.asarray(each.resize((SIDE, SIDE)), float) for each in small])


DAMAGE: tuple[Callable[[Pixels, np.random.Generator], Pixels], ...] = (
    *(shot, fog, spatter, dotted, glass, motion, coarse),
)


def as_mnist(picture: Image.Image) -> NDArray[np.uint8]:
    """Return [784]: ink scaled to a 20 pixel box, its centre of mass in the middle."""
    picture = picture.crop(picture.point(lambda value: value if value > 20 else 0).getbbox())
    scale = 20 / max(picture.size)
    width, height = (max(1, round(scale * each)) for each in picture.size)
    ink = np.asarray(
        picture.resize((width, height), Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    )
    y, x = (round((SIDE - 1) / 2 - each) for each in ndimage.center_of_mass(ink.astype(float)))
    image = np.zeros((SIDE, SIDE), np.uint8)
    top, left = np.clip(y, 0, SIDE - height), np.clip(x, 0, SIDE - width)
    image[top : top + height, left : left + width] = ink
    return image.ravel()


def letters(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Printed letters in five fonts, rotated by up to 15 degrees."""
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    fonts = [ImageFont.truetype(str(folder / f"{name}.ttf"), 60) for name in FONTS]
    images = []
    for _ in range(1000):
        picture = Image.new("L", (120, 120))
        letter = LETTERS[rng.integers(len(LETTERS))]
        ImageDraw.Draw(picture).text(
            (60, 60), letter, fill=WHITE, font=fonts[rng.integers(len(fonts))], anchor="mm"
        )
        images.append(as_mnist(picture.rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR)))
    return np.stack(images)


def scribbles(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Smooth curves through four to eight random points."""
    images = []
    for _ in range(1000):
        points = rng.uniform(10, 102, (rng.integers(4, 9), 2))
        curve = CubicSpline(np.arange(len(points)), points)(np.linspace(0, len(points) - 1, 400))
        picture = Image.new("L", (112, 112))
        ImageDraw.Draw(picture).line(
            [tuple(each) for each in curve], fill=WHITE, width=int(rng.integers(7, 12))
        )
        images.append(as_mnist(picture))
    return np.stack(images)


def noise(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Clouds of any slope, from white noise to a soft gradient, and a blank image."""
    clouded = [clouds(1, rng, slope)[0] * WHITE for slope in rng.uniform(0, 2, 999)]
    return np.stack([np.zeros((SIDE, SIDE)), *clouded]).astype(np.uint8).reshape(-1, SIDE * SIDE)


def shares(confidence: NDArray[np.float32]) -> str:
    """Return the share of the images below each of DOUBTS, as text."""
    return ", ".join(f"below {bound:.0%}: {(confidence < bound).mean():.2%}" for bound in DOUBTS)


def main(graphs: list[str]) -> None:
    """Print the figures of each graph."""
    split = split_validation(load_data(os.environ["DIGITS_DATA_DIR"]), VALIDATION_FRACTION)
    x, y = split.x_validation, split.y_validation
    some = np.random.default_rng(5).permutation(len(y))[:IMAGES]
    images = x[some].reshape(-1, SIDE, SIDE).astype(float)
    damaged = {
        damage.__name__: np.clip(np.rint(damage(images, np.random.default_rng(7))), 0, WHITE).astype(np.uint8)
        for damage in DAMAGE
    }
    copies = [np.rint(augment(x, VARIED, (8 * copy, 5))).astype(np.uint8) for copy in range(COPIES)]
    scans = load_digits()
    elsewhere = [as_mnist(Image.fromarray(np.uint8(15.9 * each)).resize((40, 40))) for each in scans.images]
    known = {
        "validation": (x, y),
        "varied": (np.concatenate(copies), np.tile(y, COPIES)),
        **{name: (each, y[some]) for name, each in damaged.items()},
        "damaged": (np.concatenate(list(damaged.values())), np.tile(y[some], len(DAMAGE))),
        "elsewhere": (np.stack(elsewhere), scans.target),
    }
    strange = {make.__name__: make(np.random.default_rng(5)) for make in (letters, scribbles, noise)}
    for graph in map(Path, graphs or sorted(map(str, MODELS.glob("*/*/model.onnx")))):
        print(graph)
        predict = onnx_predictor(graph)
        for name, (pictures, digits) in known.items():
            scores = score(digits, predict(pictures.reshape(-1, SIDE * SIDE)))
            accuracy, error = scores["test_accuracy"], scores["test_ece"]
            print(f"  {name}: accuracy {accuracy:.2%}, calibration error {error:.2%}")
        confidence = predict(x).max(axis=1)
        print(f"  digits with a confidence {shares(confidence)}")
        for name, unknown in strange.items():
            doubted = predict(unknown).max(axis=1)
            is_digit = np.repeat([1, 0], [len(x), len(unknown)])
            auroc = roc_auc_score(is_digit, np.concatenate([confidence, doubted]))
            print(f"  {name}: AUROC of confidence {auroc:.3f}, {shares(doubted)}")


if __name__ == "__main__":
    main(sys.argv[1:])
