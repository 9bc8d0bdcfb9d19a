"""Nuclei outlined in the colour of what became of them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from skimage.segmentation import find_boundaries

from nasseg.records.fates import FatePicture
from nasseg.records.images import KINDS
from nasseg.report._overlay import displayed
from nasseg.report.style import MUTED, new_figure, style, to_png
from nasseg.tasks.matching import FALSE_POSITIVE, FATES

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "matched": (108, 158, 214),
    "missed": (226, 83, 30),
    "split": (255, 210, 40),
    "merged": (170, 60, 230),
    "badly outlined": (26, 255, 145),
    FALSE_POSITIVE: (255, 255, 255),
}
"""To all eyes, colour-blind ones too, any two are 30 or more apart in CIELAB, and as far from black
and from the brightest grey under them."""
DIM = 0.55
"""Brightness of the image below the outlines."""
FLUORESCENCE_GAMMA = 0.6
"""Exponent of the brightness of fluorescence images, where nuclei beside bright ones are dim."""
ACROSS = 3
"""Pictures in a row."""


def fate_picture(picture: FatePicture) -> npt.NDArray[np.uint8]:
    """Outline instances on the image in grey, which is stretched and dimmed: uint8 (S, S, 3).

    True nuclei have the colour of their fate; of predictions only false positives are outlined.
    """
    grey = displayed(picture.image).mean(axis=2, keepdims=True) / 255.0
    if picture.kind == KINDS[0]:
        grey = grey**FLUORESCENCE_GAMMA
    shown: npt.NDArray[np.uint8]
    shown = np.rint(np.repeat(255.0 * DIM * grey, 3, axis=2)).astype(np.uint8)
    colours = np.array([COLOURS[name] for name in FATES], dtype=np.uint8)
    false = np.concatenate([[False], picture.fates.false_positive])[picture.prediction]
    shown[_border(np.where(false, picture.prediction, 0))] = COLOURS[FALSE_POSITIVE]
    border = _border(picture.label)
    shown[border] = colours[picture.fates.label[picture.label[border] - 1]]
    return shown


def _border(ids: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = find_boundaries(ids, mode="inner", connectivity=1)
    return found


def fate_text(picture: FatePicture) -> str:
    """Number of nuclei by fate, of the whole image; fates that none has are left out."""
    counts = picture.fates.counts()
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "no nuclei"


def fate_heading(picture: FatePicture) -> str:
    """Role, kind and score of the image."""
    return f"{picture.role}: {picture.kind}, AP50 {picture.ap50:.2f}"


def fate_key(counts: dict[str, int]) -> list[tuple[Colour, str]]:
    """The colours with what they mean, and in how many of ``counts``."""
    return [(colour, f"{name} ({counts.get(name, 0):,})") for name, colour in COLOURS.items()]


def draw_fates(pictures: Sequence[FatePicture], counts: dict[str, int]) -> Figure | None:
    """Draw the pictures as one figure; None where there are none.

    Args:
        pictures: images with the fates of their nuclei.
        counts: number of nuclei by fate in all images of the split, for the key.
    """
    if not pictures:
        return None
    down = -(-len(pictures) // ACROSS)
    figure = new_figure(9.6, 3.75 * down + 0.5)
    axes = figure.subplots(down, ACROSS, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
        ax.set_anchor("S")
    for ax, picture in zip(axes.flat, pictures, strict=False):
        # Outlines are one pixel wide: the picture is enlarged by whole numbers before it is scaled.
        ax.imshow(np.kron(fate_picture(picture), np.ones((2, 2, 1), np.uint8)))
        ax.set_title(fate_heading(picture), fontsize=8.5, pad=4)
        ax.text(
            0.5,
            -0.02,
            textwrap.fill(fate_text(picture), 52),
            transform=ax.transAxes,
            ha="center",
            va="top",
            fontsize=7.5,
            color=MUTED,
        )
    figure.legend(
        handles=[
            Patch(facecolor=_share(colour), edgecolor=MUTED, linewidth=0.5, label=name)
            for colour, name in fate_key(counts)
        ],
        loc="outside lower center",
        ncols=len(COLOURS),
        fontsize=8,
        title="nuclei of all images",
        title_fontsize=8,
    )
    return figure


def _share(colour: Colour) -> tuple[float, float, float]:
    red, green, blue = (part / 255 for part in colour)
    return red, green, blue


def fates_png(pictures: Sequence[FatePicture], counts: dict[str, int]) -> bytes:
    """Return :func:`draw_fates` of at least one picture as PNG on white."""
    with style():
        figure = draw_fates(pictures, counts)
        assert figure is not None  # noqa: S101 (there is a picture)
        return to_png(figure)
