"""Images beside their segmentations, with the errors in colour."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from nasseg.report._load import Array
from nasseg.report._style import MUTED, new_figure

RIGHT = (238, 240, 242)
FALSE_POSITIVE = (235, 122, 44)
MISSED = (50, 136, 214)
COLUMNS = ("image", "label", "digital", "analog after a day")


def mask_picture(label: Array) -> Array:
    """A label (H, W) of 0 and 1 as RGB uint8 (H, W, 3), light on black."""
    return _paint(np.asarray(label) > 0, RIGHT)


def error_picture(probability: Array, label: Array) -> Array:
    """Probabilities (H, W) above 0.5 against a label (H, W), as RGB uint8 (H, W, 3).

    Light: found; orange: foreground where there is none; blue: foreground that was missed.
    """
    said, true = np.asarray(probability) > 0.5, np.asarray(label) > 0
    picture = _paint(said & true, RIGHT)
    picture[said & ~true] = FALSE_POSITIVE
    picture[~said & true] = MISSED
    return picture


def _paint(where: Array, colour: tuple[int, int, int]) -> Array:
    picture = np.zeros((*where.shape, 3), dtype=np.uint8)
    picture[where] = colour
    return picture


def dice(probability: Array, label: Array) -> float:
    """Foreground Dice of probabilities above 0.5 against a label; 1 where both are empty."""
    said, true = np.asarray(probability) > 0.5, np.asarray(label) > 0
    total = int(said.sum()) + int(true.sum())
    return 2.0 * int((said & true).sum()) / total if total else 1.0


def panel_rows(panels: dict[str, Array]) -> list[tuple[str, list[tuple[Array, float | None]]]]:
    """For each image: its id, and four pictures (H, W, 3) with their Dice where they have one."""
    rows = []
    for k in range(len(panels["images"])):
        label = panels["labels"][k]
        cells: list[tuple[Array, float | None]] = [
            (np.asarray(panels["images"][k]), None),
            (mask_picture(label), None),
        ]
        for key in ("digital", "analog_1day"):
            probability = panels[key][k]
            cells.append((error_picture(probability, label), dice(probability, label)))
        rows.append((str(panels["ids"][k]), cells))
    return rows


def draw_panels(panels: dict[str, Array] | None) -> Figure | None:
    """The same pictures as one figure, a row for each image; None where there are none."""
    if panels is None or len(panels["images"]) == 0:
        return None
    rows = panel_rows(panels)
    figure = new_figure(7.6, 1.95 * len(rows) + 0.5)
    axes = figure.subplots(len(rows), len(COLUMNS), squeeze=False)
    for r, (_, cells) in enumerate(rows):
        for c, (picture, score) in enumerate(cells):
            ax = axes[r][c]
            ax.imshow(picture, interpolation="nearest")
            ax.set_axis_off()
            if r == 0:
                ax.set_title(COLUMNS[c])
            if score is not None:
                ax.text(
                    0.5,
                    -0.03,
                    f"Dice {score:.3f}",
                    transform=ax.transAxes,
                    ha="center",
                    va="top",
                    fontsize=8,
                    color=MUTED,
                )
    key = "orange: false positive   blue: missed"
    figure.supxlabel(key, fontsize=7.5, color=MUTED)
    return figure
