"""Pictures of numbers: drift over time, training, search progress."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from nasseg.records.best import Best
from nasseg.records.run_files import RunFiles
from nasseg.report.style import BLUE, CYCLE, GREEN, INK, MUTED, ORANGE, new_figure, quiet
from nasseg.text import time_name

KINDS = ((True, "recalibrated", BLUE, "o"), (False, "uncalibrated", ORANGE, "s"))


def draw_drift(run: RunFiles) -> Figure | None:
    """The score and a second metric over time since programming; None where nothing was measured.

    The second is AP of nuclei, pooled IoU, or what comes after the score.

    Lines are means over chips, bands one standard deviation to either side, dotted lines the 5th
    percentile chip, the dashed line the digital network.
    """
    digital: Mapping[str, Any] = (run.summary or {}).get("digital") or {}
    names = dict(run.shown_metrics)
    main = run.main_metric[0]
    second = next((m for m in ("ap50", "iou_pooled") if m in names), [*names, main][1])
    metrics = [
        metric
        for metric in dict.fromkeys((main, second))
        if any(run.drift.by_time(metric, recalibrated=kind) for kind, *_ in KINDS)
    ]
    if not metrics:
        return None
    figure = new_figure(9.6, 3.7)
    axes: Sequence[Axes] = figure.subplots(1, len(metrics), squeeze=False)[0]
    times = run.drift.times
    for ax, metric in zip(axes, metrics, strict=True):
        for recalibrated, label, colour, marker in KINDS:
            stats = run.drift.by_time(metric, recalibrated=recalibrated)
            if not stats:
                continue
            x = [time for time, _ in stats]
            low, high = [s.mean - s.std for _, s in stats], [s.mean + s.std for _, s in stats]
            ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
            ax.plot(x, [s.p05 for _, s in stats], color=colour, linestyle=":", linewidth=1.2)
            ax.plot(x, [s.mean for _, s in stats], color=colour, marker=marker, ms=4.5, label=label)
        value = digital.get(metric)
        if isinstance(value, (int, float)) and math.isfinite(value):
            ax.axhline(value, color=INK, linestyle=(0, (5, 3)), linewidth=1.2, label="digital")
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator(times))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticks(times, [time_name(time) for time in times])
        ax.set_title(names[metric])
        ax.set_xlabel("time since programming")
        ax.margins(x=0.04, y=0.12)
        quiet(ax)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


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
        quiet(ax)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def draw_search(run: RunFiles) -> Figure | None:
    """Best and mean score of each generation (of a supernet: epoch), a colour for each search."""
    history = [
        entry
        for entry in (run.best or Best()).history
        if isinstance(entry.get("best"), (int, float))
    ]
    if not history:
        return None
    figure = new_figure(9.6, 3.0)
    ax = figure.subplots()
    supernet = run.setting("search.strategy") == "darts"
    runs = sorted({int(entry.get("run", 0)) for entry in history})
    for number in runs:
        own = [entry for entry in history if int(entry.get("run", 0)) == number]
        own.sort(key=lambda entry: int(entry["generation"]))
        x = [int(entry["generation"]) for entry in own]
        colour = CYCLE[number % len(CYCLE)]
        ax.plot(x, [e["best"] for e in own], color=colour, label=_series_name(number, supernet))
        mean = [math.nan if e.get("mean") is None else float(e["mean"]) for e in own]
        ax.plot(x, mean, color=colour, alpha=0.55, linewidth=1.1, linestyle="--")
    ax.plot(
        [],
        [],
        color=MUTED,
        linewidth=1.1,
        linestyle="--",
        label="mean of three drawn" if supernet else "mean of the population",
    )
    best = run.best or Best()
    goals = best.objectives
    if goals:
        title = f"first objective: {goals[0]}"
    elif supernet:
        title = f"validation {run.main_metric[1]} with the shared weights"
    elif best.measured:
        title = f"measured {run.measured_title} after a day, short training"
    else:
        title = f"predicted {run.predicted_title} after a day"
    ax.set_title(title)
    ax.set_xlabel("epoch" if supernet else "generation")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    quiet(ax)
    figure.legend(loc="outside right center")
    return figure


def _series_name(number: int, supernet: bool) -> str:
    return "most probable" if supernet else f"search {number + 1}: best"
