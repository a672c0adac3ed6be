"""Generated photographs: MNIST's digits on paper, badly lit."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps

Picture = NDArray[np.float32]
PENS = np.array(
    [(20, 20, 25), (25, 40, 130), (160, 30, 40), (20, 90, 50), (90, 90, 95)],  # black blue red green pencil
    np.float32,
)


def photograph(digit: NDArray[np.uint8], rng: np.random.Generator, longest: int = 2000) -> Image.Image:
    """Generate a photograph of a digit, uint8 (28, 28), on paper; RGB, 200 to `longest` pixels a side.

    Off-centre, rotated by up to 10 degrees, with paper texture, one of five pens, uneven light, the
    shadow of a hand or phone, camera noise and blur.
    """
    short, long = sorted(int(side) for side in np.exp(rng.uniform(np.log(200), np.log(longest), 2)))
    long = min(long, 2 * short)
    width, height = (short, long) if rng.random() < 0.5 else (long, short)
    return _lit(_written(digit, width, height, rng), rng)


def photographed_row(digits: NDArray[np.uint8], rng: np.random.Generator) -> Image.Image:
    """Generate a photograph of a row of digits, uint8 (n, 28, 28); RGB, 300 to 1,200 pixels wide."""
    width = int(np.exp(rng.uniform(np.log(300), np.log(1200))))
    height = int(width * rng.uniform(0.4, 0.8))
    written = ImageOps.invert(row(digits, rng))
    scale = min(width * rng.uniform(0.4, 0.98) / written.width, height / written.height)
    written = written.resize((int(scale * written.width), int(scale * written.height)))
    page = Image.new("L", (width, height))
    page.paste(
        written,
        (int(rng.integers(width - written.width + 1)), int(rng.integers(height - written.height + 1))),
    )
    turned = page.rotate(rng.uniform(-4, 4), Image.Resampling.BICUBIC)
    return _lit(_penned(np.asarray(turned, np.float32) / 255, rng), rng)


def scan(
    digits: NDArray[np.uint8], around: Literal["nothing", "boxes", "comb", "lines"], rng: np.random.Generator
) -> Image.Image:
    """Generate a slightly rotated scan of a form with digits, uint8 (n, 28, 28), and printed frames."""
    box = 200
    pitch = box if around == "comb" else box + 24
    width, height = 60 + len(digits) * pitch, box + 120
    form = Image.new("L", (width, height), 245)
    pen = ImageDraw.Draw(form)
    if around == "lines":
        for y in range(30, height, 58):
            pen.line([(0, y), (width, y)], fill=int(rng.integers(150, 200)), width=3)
    for place, digit in enumerate(digits):
        left = 30 + place * pitch
        glyph = Image.fromarray(digit).resize((box - 30, box - 30), Image.Resampling.BICUBIC)
        form.paste(30, (left + 15, 75), glyph)
        if around in {"boxes", "comb"}:
            pen.rectangle([left, 60, left + box, 60 + box], outline=70, width=4)
    askew = form.rotate(float(rng.uniform(-2, 2)), Image.Resampling.BICUBIC, fillcolor=245)
    noisy = np.asarray(askew.filter(ImageFilter.GaussianBlur(1))) + rng.normal(0, 3, (height, width))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def row(digits: NDArray[np.uint8], rng: np.random.Generator) -> Image.Image:
    """Generate a row of digits, uint8 (n, 28, 28), black on white, so close that some touch."""
    pitch = int(rng.integers(18, 30))
    page = np.zeros((60, 68 + len(digits) * pitch), np.uint8)
    for place, digit in enumerate(digits):
        top, left = 16 + int(rng.integers(-3, 4)), 20 + place * pitch
        field = page[top : top + 28, left : left + 28]
        np.maximum(field, digit, out=field)
    enlarged = (6 * page.shape[1], 6 * page.shape[0])
    return Image.fromarray(255 - page).resize(enlarged, Image.Resampling.BICUBIC)


def _lit(ink: Picture, rng: np.random.Generator) -> Image.Image:
    """Photograph ink (height, width), 0-1: pen, paper, light, noise and blur."""
    height, width = ink.shape
    paper = rng.uniform([205, 200, 185], [255, 252, 245]) + _texture(width, height, rng)[..., None]
    pen = PENS[rng.integers(len(PENS))] + rng.normal(0, 6, (height, width, 1))
    lit = (paper * (1 - ink[..., None]) + pen * ink[..., None]) * _light(width, height, rng)[..., None]
    noisy = lit + rng.normal(0, 3, (height, width, 3))
    picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    return picture.filter(ImageFilter.GaussianBlur(max(width, height) / 1500 * rng.uniform(0, 2)))


def _penned(ink: Picture, rng: np.random.Generator) -> Picture:
    # Half of the pens have crisp edges, unlike enlarged 28x28 pixels.
    return np.clip((ink - 0.35) / 0.3, 0, 1) if rng.random() < 0.5 else ink


def _written(digit: NDArray[np.uint8], width: int, height: int, rng: np.random.Generator) -> Picture:
    side = int(min(width, height) * rng.uniform(0.35, 0.9))
    glyph = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    page = Image.new("L", (width, height))
    left, top = (int((room - side) * rng.uniform(0.05, 0.95)) for room in (width, height))
    page.paste(glyph, (left, top))
    turned = page.rotate(rng.uniform(-10, 10), Image.Resampling.BICUBIC)
    return _penned(np.asarray(turned, np.float32) / 255, rng)


def _texture(width: int, height: int, rng: np.random.Generator) -> Picture:
    texture = np.zeros((height, width), np.float32)
    for grain, strength in ((2, 1.5), (8, 2.0), (40, 2.5)):
        coarse = rng.normal(0, strength, (max(2, height // grain), max(2, width // grain)))
        texture += np.asarray(
            Image.fromarray(coarse.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
        )
    return texture


def _light(width: int, height: int, rng: np.random.Generator) -> Picture:
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    across, down = _direction(rng)
    falling = across * x + down * y - min(0, across) - min(0, down)
    light = 1 - rng.uniform(0, 0.4) * falling / 1.5
    across, down = _direction(rng)
    place, softness = rng.uniform(0.2, 0.8), rng.uniform(0.02, 0.15)
    shadow = 1 / (1 + np.exp(-4 / softness * ((x - place) * across + (y - place) * down)))
    light = light * (1 - rng.uniform(0, 0.45) * shadow) * rng.uniform(0.75, 1.0)
    return light.astype(np.float32)


def _direction(rng: np.random.Generator) -> tuple[float, float]:
    angle = rng.uniform(0, 2 * np.pi)
    return float(np.cos(angle)), float(np.sin(angle))
