"""One look for all drawings: as PNG on white, and as SVG that takes its colours from the page around it."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INK = "#1b2330"
MUTED = "#667085"
GRID = "#e4e7ec"
PAPER = "#ffffff"
ACCENT = "#2456d6"
SECOND = "#c2410c"
THIRD = "#0f766e"
QUIET = "#b8c0cc"

# In a page each colour is a variable of its style sheet, so a dark page has dark drawings.
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PAPER: "--paper",
    ACCENT: "--accent",
    SECOND: "--second",
    THIRD: "--third",
    QUIET: "--quiet",
}
_PNG_DPI = 144


@dataclass(frozen=True)
class Drawing:
    """A finished figure."""

    name: str
    figure: Any

    def save_png(self, folder: Path) -> None:
        """Write `name`.png; the same numbers give the same file."""
        with _style():
            self.figure.savefig(folder / f"{self.name}.png", dpi=_PNG_DPI, metadata={"Software": None})

    def svg(self) -> str:
        """Return an <svg> element for a page that defines the colours."""
        content = io.StringIO()
        with _style():
            self.figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
        text = content.getvalue()
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
        for colour, variable in _VARIABLES.items():
            text = text.replace(colour, f"var({variable})")
        # Several drawings share a page: their ids must not.
        text = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{self.name}-", text)
        return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'role="img"', text, count=1)


@contextmanager
def drawing(name: str, width: float, height: float, columns: int = 1) -> Iterator[tuple[Drawing, list[Any]]]:
    """Give a drawing of this many inches and its axes, side by side, to be filled in the block."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  # half a second to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    with _style():
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield Drawing(name, figure), list(figure.subplots(1, columns, squeeze=False)[0])


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl  # noqa: PLC0415  # half a second to import

    with mpl.rc_context(
        {
            "axes.axisbelow": True,
            "axes.edgecolor": GRID,
            "axes.facecolor": "none",
            "axes.grid": True,
            "axes.labelcolor": MUTED,
            "axes.labelsize": 9,
            "axes.linewidth": 1.0,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlecolor": INK,
            "axes.titlelocation": "left",
            "axes.titlepad": 10,
            "axes.titlesize": 10.5,
            "axes.titleweight": "bold",
            "figure.constrained_layout.h_pad": 0.1,
            "figure.constrained_layout.w_pad": 0.1,
            "figure.facecolor": PAPER,
            "font.family": ["DejaVu Sans"],
            "font.size": 9,
            "grid.color": GRID,
            "grid.linewidth": 0.8,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "lines.solid_capstyle": "round",
            "savefig.facecolor": PAPER,
            "svg.fonttype": "none",
            "svg.hashsalt": "digits",
            "text.color": INK,
            "xtick.color": GRID,
            "xtick.labelcolor": MUTED,
            "xtick.major.size": 0,
            "xtick.minor.size": 0,
            "ytick.color": GRID,
            "ytick.labelcolor": MUTED,
            "ytick.major.size": 0,
            "ytick.minor.size": 0,
        }
    ):
        yield
