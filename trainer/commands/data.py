"""`digit-trainer data`: what a data set holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.errors import TrainerError

if TYPE_CHECKING:
    from trainer.data import Dataset

_SHEET_COLUMNS = 24
_GAP_PIXELS = 4
_SHEET_SCALE = 2


def data(source: str, /, *, picture: Path | None = None) -> int:
    """Describe a data set: counts, class balance, checksum.

    Parameters
    ----------
    source
        sample, mnist, a folder, a file of labelled images, or X_train,y_train,X_test,y_test.
    picture
        Also write a sheet of training images, a row a digit, as PNG.

    """
    from rich.console import Console  # noqa: PLC0415  # help and usage errors need none of it

    from trainer.data import load_data  # noqa: PLC0415

    dataset = load_data(source)
    print(f"name    {dataset.name}\nsha256  {dataset.sha256}")
    Console(highlight=False).print(counts_table(dataset))
    if picture:
        save_picture(picture, dataset)
        print(f"picture {picture}")
    return 0


def counts_table(dataset: "Dataset") -> Any:
    """Return a rich table of what is in the training and the test part."""
    from rich.table import Table  # noqa: PLC0415

    table = Table("", "training", "test")
    for column in table.columns[1:]:
        column.justify = "right"
    parts = ((dataset.x_train, dataset.y_train), (dataset.x_test, dataset.y_test))
    rows = [[image.tobytes() for image in images] for images, _ in parts]
    table.add_row("images", *(f"{len(images):,}" for images, _ in parts))
    for digit in range(10):
        counts = [int((digits == digit).sum()) for _, digits in parts]
        cells = (
            f"{count:,} {count / max(1, len(own[1])):7.1%}" for count, own in zip(counts, parts, strict=True)
        )
        table.add_row(f"digit {digit}", *cells)
    table.add_row("mean pixel", *(f"{images.mean():.1f}" for images, _ in parts))
    table.add_row("blank images", *(f"{int((~images.any(axis=1)).sum()):,}" for images, _ in parts))
    table.add_row("repeated images", *(f"{len(part) - len(set(part)):,}" for part in rows))
    training = set(rows[0])
    table.add_row("also in training", "", f"{sum(row in training for row in rows[1]):,}")
    return table


def save_picture(path: Path, dataset: "Dataset") -> None:
    """Write a sheet of training images, a row a digit, dark on white. Raises TrainerError."""
    import numpy as np  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415  # only for those who ask for the picture

    from trainer.data import DIGITS, SIDE  # noqa: PLC0415

    step = SIDE + _GAP_PIXELS
    sheet = np.zeros((DIGITS * step + _GAP_PIXELS, _SHEET_COLUMNS * step + _GAP_PIXELS), np.uint8)
    for digit in range(DIGITS):
        own = dataset.x_train[np.flatnonzero(dataset.y_train == digit)[:_SHEET_COLUMNS]]
        for column, image in enumerate(own.reshape(-1, SIDE, SIDE)):
            top, left = digit * step + _GAP_PIXELS, column * step + _GAP_PIXELS
            sheet[top : top + SIDE, left : left + SIDE] = image
    picture = Image.fromarray(255 - sheet)
    size = (picture.width * _SHEET_SCALE, picture.height * _SHEET_SCALE)
    try:
        picture.resize(size, Image.Resampling.BICUBIC).save(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TrainerError(f"{path}: cannot write the picture: {reason}") from error
