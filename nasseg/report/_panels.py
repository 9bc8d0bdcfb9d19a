"""Images beside their segmentations, with the errors in colour."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nasseg.records.run_files import Array
from nasseg.report.style import MUTED, new_figure

RIGHT = (238, 240, 242)
FALSE_POSITIVE = (235, 122, 44)
MISSED = (50, 136, 214)
CLASS_COLOURS = (
    (200, 207, 216),
    (125, 92, 190),
    (70, 170, 125),
    (60, 130, 205),
    (205, 95, 130),
    (195, 175, 70),
)
"""Of the classes after the background, again from the first where there are more."""
KEY_COLUMNS = 4
"""Colours in a row of the key."""
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


def class_picture(numbers: Array, label: Array | None = None) -> Array:
    """Class numbers (H, W) as RGB uint8 (H, W, 3), the background (0) black.

    Where a label is given, pixels of another class than it says are orange.
    """
    numbers = np.asarray(numbers).astype(np.int64)
    colours = np.array(CLASS_COLOURS, dtype=np.uint8)
    picture: Array = colours[(numbers - 1) % len(colours)]
    picture[numbers == 0] = 0
    if label is not None:
        picture[numbers != np.asarray(label)] = FALSE_POSITIVE
    return picture


def class_dice(numbers: Array, label: Array) -> float:
    """Mean Dice of the classes that are in either of two maps (H, W), but for the background."""
    numbers, label = np.asarray(numbers), np.asarray(label)
    present = np.union1d(numbers, label)
    scores = [dice(numbers == k, label == k) for k in present[present > 0]]
    return float(np.mean(scores)) if scores else 1.0


def colour_key(panels: dict[str, Array]) -> list[tuple[tuple[int, int, int], str]]:
    """What the colours of the pictures mean."""
    if "pixel_classes" not in panels:
        return [(FALSE_POSITIVE, "false positive"), (MISSED, "missed")]
    names = [str(name) for name in panels["pixel_classes"]][1:]
    key = [(CLASS_COLOURS[k % len(CLASS_COLOURS)], name) for k, name in enumerate(names)]
    return [*key, (FALSE_POSITIVE, "other than the label")]


def dice(probability: Array, label: Array) -> float:
    """Foreground Dice of probabilities above 0.5 against a label; 1 where both are empty."""
    said, true = np.asarray(probability) > 0.5, np.asarray(label) > 0
    total = int(said.sum()) + int(true.sum())
    return 2.0 * int((said & true).sum()) / total if total else 1.0


def panel_rows(panels: dict[str, Array]) -> list[tuple[str, list[tuple[Array, float | None]]]]:
    """For each image: its id, and four pictures (H, W, 3) with their Dice where they have one."""
    rows = []
    several = "pixel_classes" in panels
    for k in range(len(panels["images"])):
        label = panels["labels"][k]
        cells: list[tuple[Array, float | None]] = [
            (np.asarray(panels["images"][k]), None),
            (class_picture(label) if several else mask_picture(label), None),
        ]
        for key in ("digital", "analog_1day"):
            said = panels[key][k]
            if several:
                cells.append((class_picture(said, label), class_dice(said, label)))
            else:
                cells.append((error_picture(said, label), dice(said, label)))
        rows.append((str(panels["ids"][k]), cells))
    return rows


def draw_panels(panels: dict[str, Array] | None) -> Figure | None:
    """The same pictures as one figure, a row for each image; None where there are none."""
    if panels is None or len(panels["images"]) == 0:
        return None
    rows = panel_rows(panels)
    key = colour_key(panels)
    figure = new_figure(7.6, 1.95 * len(rows) + 0.35 + 0.15 * -(-len(key) // KEY_COLUMNS))
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
    figure.legend(
        handles=[
            # A legend leaves out what begins with an underscore.
            Patch(
                color=[part / 255 for part in colour], label=f" {name}" if name[:1] == "_" else name
            )
            for colour, name in key
        ],
        loc="outside lower center",
        ncols=KEY_COLUMNS,
        fontsize=7.5,
        labelcolor=MUTED,
    )
    return figure
