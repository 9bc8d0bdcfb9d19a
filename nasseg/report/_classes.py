"""Classified images: who was taken for whom, and whether probabilities mean what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from nasseg.records.run_files import Array
from nasseg.report.style import BLUE, INK, MUTED, ORANGE, new_figure, strip_axes, style, to_png

BINS, LEAST = 10, 15
"""Bins of the reliability diagram at most, each with the same number of images, and that at least:
the accuracy of a few images is no more than chance."""
MOST_NAMED = 15
"""Classes up to which every cell of a confusion matrix has its number."""
STATES = (("digital", "digital"), ("analog_1day", "analog"))


def confusion(labels: Array, probabilities: Array) -> Array:
    """Images (K, K): row = true class, column = the most probable one.

    Args:
        labels: class numbers (N,).
        probabilities: (N, K).
    """
    count = probabilities.shape[1]
    flat = labels.astype(np.int64) * count + probabilities.argmax(1)
    return np.bincount(flat, minlength=count * count).reshape(count, count)


def reliability(
    labels: Array, probabilities: Array, bins: int | None = None
) -> list[dict[str, float]]:
    """Confidence against accuracy, in bins of equally many images, from the least confident.

    Without ``bins``, as many as there are images for.

    Each has ``confidence`` (mean of the highest probability), ``accuracy`` and ``images``.
    """
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    order = np.argsort(confidence, kind="stable")
    if bins is None:
        bins = min(BINS, max(2, len(order) // LEAST))
    found = []
    for part in np.array_split(order, min(bins, len(order))):
        found.append(
            {
                "confidence": float(confidence[part].mean()),
                "accuracy": float(right[part].mean()),
                "images": len(part),
            }
        )
    return found


def calibration_error(labels: Array, probabilities: Array, bins: int | None = None) -> float:
    """Expected calibration error: the mean over images of |confidence - accuracy| of their bin.

    After Naeini et al., AAAI 2015, with bins of equally many images.
    """
    entries = reliability(labels, probabilities, bins)
    gaps = [e["images"] * abs(e["confidence"] - e["accuracy"]) for e in entries]
    return float(sum(gaps) / sum(e["images"] for e in entries))


def draw_confusion(panels: dict[str, Array] | None) -> Figure | None:
    """Confusion matrices, digital and analog; None where an image may have several classes."""
    if panels is None or not _single(panels):
        return None
    names = [str(name) for name in panels["classes"]]
    states = [(key, title) for key, title in STATES if key in panels]
    side = 1.5 + 0.42 * min(len(names), 20)
    figure = new_figure(1.2 + len(states) * (side + 0.6), side + 0.9)
    axes: Sequence[Axes] = figure.subplots(1, len(states), squeeze=False)[0]
    ground = LinearSegmentedColormap.from_list("share", ["#ffffff", BLUE])
    for ax, (key, title) in zip(axes, states, strict=True):
        counts = confusion(panels["labels"], panels[key])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        ax.imshow(shares, cmap=ground, vmin=0, vmax=1)
        if len(names) <= MOST_NAMED:
            for i, j in np.ndindex(counts.shape):
                if counts[i, j]:
                    colour = "#ffffff" if shares[i, j] > 0.6 else INK
                    ax.text(j, i, str(counts[i, j]), ha="center", va="center", color=colour)
        ax.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(len(names)), names if ax is axes[0] else [""] * len(names))
        ax.set_title(title)
        ax.set_xlabel("said")
        ax.grid(visible=False)
    axes[0].set_ylabel("true")
    return figure


def draw_reliability(panels: dict[str, Array] | None) -> Figure | None:
    """Accuracy over confidence, digital and analog; on the dashed line, probabilities are true."""
    if panels is None or not _single(panels):
        return None
    figure = new_figure(4.6, 4.0)
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], color=MUTED, linestyle=(0, (5, 3)), linewidth=1.0)
    low = 0.9
    for (key, title), colour in zip(STATES, (INK, BLUE), strict=True):
        if key not in panels:
            continue
        entries = reliability(panels["labels"], panels[key])
        error = calibration_error(panels["labels"], panels[key])
        x, y = [e["confidence"] for e in entries], [e["accuracy"] for e in entries]
        low = min(low, *x)
        label = f"{title} (calibration error {error:.3f})"
        ax.plot(x, y, color=colour, marker="o", ms=4, label=label)
    ax.set_xlim(low - 0.03, 1.02)
    ax.set_ylim(-0.02, 1.04)
    ax.set_xlabel("confidence")
    ax.set_ylabel("accuracy")
    figure.legend(loc="outside lower center")
    strip_axes(ax)
    return figure


def classification_pictures(
    classes: Sequence[str], labels: Array, probabilities: Array, state: str
) -> dict[str, bytes]:
    """``confusion`` and ``reliability`` of one network as PNG.

    Args:
        classes: names of the K classes.
        labels: class numbers (N,).
        probabilities: (N, K).
        state: ``digital`` or ``analog``.
    """
    key = "digital" if state == "digital" else "analog_1day"
    panels = {"classes": np.array(classes), "labels": labels, key: probabilities}
    with style():
        figures = {"confusion": draw_confusion(panels), "reliability": draw_reliability(panels)}
        return {name: to_png(figure) for name, figure in figures.items() if figure is not None}


def shown_cells(panels: dict[str, Array]) -> list[dict[str, Any]]:
    """For each image that is shown: ``id``, ``picture`` (H, W, 3), ``true``, and what each state
    ``said`` with its probability and whether that is ``right``."""
    names = [str(name) for name in panels["classes"]]
    cells = []
    for picture, number in zip(panels["images"], panels["shown"], strict=True):
        label = panels["labels"][number]
        several = np.ndim(label) > 0
        true = [names[k] for k in np.flatnonzero(label)] if several else [names[int(label)]]
        said = {}
        for key, _ in STATES:
            row = panels[key][number]
            picked = [int(k) for k in np.flatnonzero(row > 0.5)] if several else [int(row.argmax())]
            said[key] = {
                "text": ", ".join(f"{names[k]} {row[k]:.2f}" for k in picked) or "none",
                "right": {names[k] for k in picked} == set(true),
            }
        cells.append(
            {
                "id": str(panels["ids"][number]),
                "picture": np.asarray(picture),
                "true": ", ".join(true) or "none",
                "said": said,
            }
        )
    return cells


def draw_classified(panels: dict[str, Array] | None) -> Figure | None:
    """The shown images with what is true and what was said, as one figure."""
    if panels is None or "classes" not in panels or len(panels["images"]) == 0:
        return None
    cells = shown_cells(panels)
    across = min(6, len(cells))
    down = -(-len(cells) // across)
    figure = new_figure(1.75 * across, 2.35 * down)
    axes = figure.subplots(down, across, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
        # The layout makes room for text below the square only where the square stands on its slot.
        ax.set_anchor("S")
    for ax, cell in zip(axes.flat, cells, strict=False):
        ax.imshow(cell["picture"], interpolation="nearest")
        ax.set_title(cell["true"], fontsize=8, pad=3)
        for line, (key, title) in enumerate(STATES):
            said = cell["said"][key]
            ax.text(
                0.5,
                -0.04 - 0.13 * line,
                f"{title}: {said['text']}",
                transform=ax.transAxes,
                ha="center",
                va="top",
                fontsize=6.5,
                color=MUTED if said["right"] else ORANGE,
            )
    return figure


def _single(panels: dict[str, Array]) -> bool:
    """Whether there are classified images with one class each."""
    return "classes" in panels and panels["labels"].ndim == 1
