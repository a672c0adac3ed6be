"""The confusion matrix as the tutorial draws it: green, counts in the cells."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def plot_confusion_matrix(path: Path, confusion: NDArray[np.int64]) -> None:
    """Write a PNG of counts [10, 10], true digit by predicted digit."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  # half a second to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7.5, 6.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots()
    shown = axes.imshow(confusion, cmap="Greens")
    figure.colorbar(shown, ax=axes)
    axes.set_title("Confusion matrix between true and predicted labels")
    axes.set_ylabel("True class labels")
    axes.set_xlabel("Predicted class labels")
    axes.set_xticks(range(10))
    axes.set_yticks(range(10))
    half = confusion.max() / 2
    for (row, column), count in np.ndenumerate(confusion):
        colour = "white" if count > half else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
    # No program name: the same counts give the same file.
    figure.savefig(path, metadata={"Software": None})
