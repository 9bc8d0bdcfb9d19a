"""A picture of several runs: how they learned, and how they age."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nasseg.records.comparison import Comparison, Group, curves
from nasseg.records.tables import by_time
from nasseg.report.style import CYCLE, new_figure, strip_axes, style, to_png
from nasseg.text import time_name


def comparison_png(found: Comparison) -> bytes:
    """Validation curves of the digital training, and the score over time since programming."""
    with style():
        return to_png(draw_comparison(found))


def draw_comparison(found: Comparison) -> Figure:
    """A colour for each group; thin lines are runs, thick ones and dots means over them."""
    name, title = found.metrics[0]
    figure = new_figure(9.6, 4.0)
    axes: Sequence[Axes] = figure.subplots(1, 2)
    for number, group in enumerate(found.groups):
        colour = CYCLE[number % len(CYCLE)]
        # Beyond the colours there are, lines are told apart by their dashes.
        dashes = ("-", "--", ":", "-.")[number // len(CYCLE) % 4]
        _learning(axes[0], group, name, colour, dashes)
        _ageing(axes[1], group, name, colour, dashes)
    axes[0].set_title(f"validation {title}, digital training")
    axes[0].set_xlabel("epoch")
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[1].set_title(f"{title} on chips (dashes: digital)")
    axes[1].set_xlabel("time since programming")
    for ax in axes:
        strip_axes(ax)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _learning(ax: Axes, group: Group, name: str, colour: str, dashes: str) -> None:
    lines = curves(group.runs, "train", f"val_{name}")
    for epochs, values in lines:
        ax.plot(epochs, values, color=colour, linewidth=0.8, alpha=0.4)
    label = f"{group.name} ({len(group.runs)})" if len(group.runs) > 1 else group.name
    shared = [x for x in lines[0][0] if all(x in epochs for epochs, _ in lines)] if lines else []
    means = [float(np.mean([dict(zip(*line, strict=True))[x] for line in lines])) for x in shared]
    ax.plot(shared, means, color=colour, linestyle=dashes, label=label)


def _ageing(ax: Axes, group: Group, name: str, colour: str, dashes: str) -> None:
    times = sorted({time for run in group.runs for time, _ in by_time(run.summary or {})})
    kind = next(
        (
            k
            for k in ("recalibrated", "uncalibrated")
            if f"{k}_{_key(times)}_{name}" in group.values
        ),
        None,
    )
    if kind is None:
        return
    points = [(t, group.values.get(f"{kind}_{t:.15g}s_{name}")) for t in times]
    x = [t for t, values in points if values]
    y = [float(np.mean(values)) for _, values in points if values]
    ax.plot(x, y, color=colour, marker="o", ms=4.5, linestyle=dashes)
    digital = group.mean(f"digital_{name}")
    if digital is not None:
        ax.axhline(digital, color=colour, linestyle=(0, (5, 3)), linewidth=0.9)
    ax.set_xscale("log")
    ax.set_xticks(times, [time_name(t) for t in times])
    ax.minorticks_off()


def _key(times: Sequence[float]) -> str:
    return f"{times[0]:.15g}s" if times else ""
