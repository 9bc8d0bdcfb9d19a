"""One look for every picture, on paper and in light or dark pages.

A picture is drawn once. Its PNG has a white ground; its SVG has none, and its neutral colours
become CSS variables of the page, so that it follows the reader's light or dark theme.
"""

from __future__ import annotations

import io
import re
from html import escape
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#1f2933"
MUTED = "#6b7786"
GRID = "#e1e6eb"
GROUND = "#fefefd"
"""What shows through under a picture; boxes are filled with it where lines must not be seen."""
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    GROUND: "var(--ground)",
}

BLUE = "#2878c8"
ORANGE = "#d9772b"
GREEN = "#2f9e72"
VIOLET = "#8a63c9"
RED = "#cf4f5f"
CYCLE = (BLUE, ORANGE, GREEN, VIOLET, RED)

_RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    # Names of classes are the user's: a dollar sign is one.
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "path",
    "svg.hashsalt": "nasseg",
}


def style() -> Any:
    """Context in which figures are made and written."""
    return rc_context(_RC)  # type: ignore[arg-type,unused-ignore]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, without matplotlib's global state."""
    return Figure(figsize=(width, height), layout="constrained")


def strip_axes(ax: Axes) -> Axes:
    """Horizontal grid only, no tick marks."""
    ax.grid(visible=False, axis="x")
    ax.tick_params(length=0)
    return ax


def to_png(figure: Figure) -> bytes:
    """The figure as PNG on white."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, facecolor="white")
    return buffer.getvalue()


def to_inline_svg(figure: Figure, label: str) -> Markup:
    """The figure as an ``<svg>`` element for an HTML page that defines the CSS variables."""
    FigureCanvasSVG(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Matplotlib quotes texts in comments, which end elsewhere for HTML than for XML.
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    # The page scales the picture; the viewBox keeps its shape.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    # As wide as it was drawn (100 px an inch) at most, so that a small picture stays small.
    width = f"max-width:{100 * figure.get_figwidth():.0f}px"
    attributes = f'role="img" aria-label="{escape(label)}" style="{width}"'
    # Drawn by matplotlib, which escapes texts.
    return Markup(text.replace("<svg", f"<svg {attributes}", 1))  # noqa: S704
