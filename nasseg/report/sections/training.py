"""The section of training: loss and validation score over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nasseg.records.run_files import RunFiles
from nasseg.report.sections.base import Picture, Section
from nasseg.report.style import BLUE, GREEN, MUTED, new_figure, strip_axes


def _series(
    entries: Sequence[Mapping[str, Any]], stage: str, key: str
) -> tuple[list[int], list[float]]:
    pairs = [
        (int(entry["epoch"]), float(entry[key]))
        for entry in entries
        if entry.get("stage") == stage and isinstance(entry.get(key), (int, float))
    ]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]


def draw_curves(run: RunFiles) -> Figure | None:
    """Loss and validation score of digital training and, after it, hardware-aware retraining."""
    if not run.metrics:
        return None
    digital_epochs = [int(e["epoch"]) for e in run.metrics if e.get("stage") == "train"]
    # The retraining starts where the digital training ended.
    offset = max(digital_epochs, default=0)
    stages = (("train", "digital training", GREEN, 0), ("analog", "hardware-aware", BLUE, offset))
    figure = new_figure(9.6, 3.3)
    axes: Sequence[Axes] = figure.subplots(1, 2)
    main, score = run.main_metric
    pictures = (("loss", "training loss"), (f"val_{main}", f"validation {score}"))
    for ax, (key, title) in zip(axes, pictures, strict=True):
        for stage, label, colour, start in stages:
            epochs, values = _series(run.metrics, stage, key)
            if values:
                marker = "o" if key != "loss" else ""
                x = [start + epoch for epoch in epochs]
                ax.plot(x, values, color=colour, label=label, marker=marker, ms=3.5)
        if offset and len({entry.get("stage") for entry in run.metrics}) > 1:
            ax.axvline(offset, color=MUTED, linewidth=0.8, linestyle=":")
        ax.set_title(title)
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        strip_axes(ax)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


class TrainingSection(Section):
    """Learning curves."""

    title = "Training"
    template = "training.html.j2"
    files = ("metrics.jsonl",)
    pictures = (Picture("curves", "loss and validation score over epochs", draw_curves),)
