"""The front of a search for several objectives: pictures and a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nasseg.records.best import Best
from nasseg.records.front_table import goals_text, shown_columns, some_of
from nasseg.records.pareto import Front, FrontRow
from nasseg.records.run_files import RunFiles
from nasseg.report.markup import Table, code
from nasseg.report.style import BLUE, CYCLE, GREEN, GROUND, INK, MUTED, RED, new_figure, strip_axes
from nasseg.text import value_text

MOST_PANELS = 3
"""Pairs of objectives that are drawn: the first one against each other one."""
TABLE_ROWS = 40
"""Rows of the table in the report."""
NAMES = {
    "day1": "metric after a day",
    "avm": "one-month variation (points)",
    "std": "chip-to-chip std",
    "digital": "metric of the digital network",
    "p05": "5th percentile chip after a day",
    "params": "parameters",
    "macs": "multiply-accumulates",
    "tiles": "crossbar tiles",
    "energy_uj": "energy an image (µJ)",
    "latency_us": "latency an image (µs)",
}
LOG_RATIO = 30
"""Range of positive values, largest over smallest, from which an axis is logarithmic."""


def draw_front(run: RunFiles) -> Figure | None:
    """The front, the first objective against each other one, and its hypervolume; None where the
    search had one objective.

    Grey: architectures of the last populations that others dominate. With two objectives a
    staircase bounds what is dominated, with more the colour tells a third one.
    """
    front = run.front
    if front is None or len(front.objectives) < 2 or not front.first:
        return None
    others = front.objectives[1 : 1 + MOST_PANELS]
    history = [
        entry
        for entry in (run.best or Best()).history
        if isinstance(entry.get("hypervolume"), (int, float))
    ]
    panels = len(others) + bool(history)
    figure = new_figure(min(4.9 * panels, 13.5) if panels > 1 else 5.6, 4.0)
    axes: Sequence[Axes] = figure.subplots(1, panels, squeeze=False)[0]
    for ax, other in zip(axes, others, strict=False):
        _draw_pair(ax, front, front.objectives[0], other)
    handles, labels = axes[0].get_legend_handles_labels()
    if history:
        _draw_hypervolume(axes[-1], history)
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _draw_pair(ax: Axes, front: Front, lead: tuple[str, bool], other: tuple[str, bool]) -> None:
    x_name, y_name = other[0], lead[0]
    beaten = [r for r in front.rows if r.rank > 0]
    style: dict[str, Any] = {"linestyle": "", "marker": "o"}
    if beaten:
        x, y = _columns(beaten, x_name, y_name)
        label = "dominated"
        ax.plot(x, y, **style, color=MUTED, alpha=0.35, ms=2.6, mew=0, label=label, zorder=1)
    x, y = _columns(front.first, x_name, y_name)
    two = len(front.objectives) == 2
    if two:
        steps = np.argsort(x, kind="stable")
        # Along the other objective, what is reached is the best so far: worse only at a step.
        where = "post" if not other[1] else "pre"
        ax.plot(
            x[steps], y[steps], drawstyle=f"steps-{where}", color=BLUE, lw=1.2, alpha=0.6, zorder=2
        )
    size = 2.8 if len(x) > 120 else 4.5
    third = _third(front, lead, other)
    if third is None:
        ax.plot(x, y, **style, color=BLUE, ms=size, mew=0, label="not dominated", zorder=3)
    else:
        values = np.array([r.scores[third] for r in front.first])
        norm = LogNorm() if _wide(values) else None
        dots = ax.scatter(x, y, c=values, s=size**2, cmap="viridis", norm=norm, lw=0, zorder=3)
        dots.set_label("not dominated")
        bar = ax.figure.colorbar(dots, ax=ax, pad=0.01, aspect=35)
        bar.set_label(NAMES.get(third, third), fontsize=8)
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=0, which="both", labelsize=7.5)
    marks = (
        ("knee", [r for r in front.first if r.knee], "D", RED),
        ("taken", [r for r in front.first if r.arch_id == front.taken], "o", GREEN),
    )
    for label, rows, marker, colour in marks:
        px, py = _columns(rows, x_name, y_name)
        filled = label == "knee"
        ax.plot(
            px, py, linestyle="", marker=marker, ms=8 if filled else 14, mew=1.6, zorder=5,
            mfc=colour if filled else "none", mec=GROUND if filled else colour, label=label,
        )  # fmt: skip
    if _wide(x):
        ax.set_xscale("log")
    _frame(ax, x, y)
    _draw_bounds(ax, front, x_name, y_name)
    ax.set_title(f"{_arrow(lead)} {NAMES.get(y_name, y_name)}")
    ax.set_xlabel(f"{_arrow(other)} {NAMES.get(x_name, x_name)}")
    ax.tick_params(length=0, which="both")
    if ax.get_xscale() == "linear":
        ax.xaxis.set_major_locator(MaxNLocator(5))


def _draw_bounds(ax: Axes, front: Front, x_name: str, y_name: str) -> None:
    """Dashed lines at the constraints on what is drawn, where they lie within the picture."""
    said = False
    for text in front.constraints:
        name, _, value = text.split(" ")
        bound = float(value)
        low, high = ax.get_xlim() if name == x_name else ax.get_ylim()
        if name not in (x_name, y_name) or not low <= bound <= high:
            continue
        draw = ax.axvline if name == x_name else ax.axhline
        label = "" if said else "constraint"
        draw(bound, color=INK, linestyle=(0, (5, 3)), linewidth=1.1, label=label, zorder=2)
        said = True


def _draw_hypervolume(ax: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    for number in sorted({int(entry.get("run", 0)) for entry in history}):
        own = [entry for entry in history if int(entry.get("run", 0)) == number]
        own.sort(key=lambda entry: int(entry["generation"]))
        x = [int(entry["generation"]) for entry in own]
        y = [float(entry["hypervolume"]) for entry in own]
        colour = CYCLE[number % len(CYCLE)]
        ax.plot(x, y, color=colour, label=f"evolution {number + 1}")
    ax.set_title("hypervolume (1 = first population's box)")
    ax.set_xlabel("generation")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    strip_axes(ax)
    ax.legend(loc="lower right")


def _columns(rows: Sequence[FrontRow], x_name: str, y_name: str) -> tuple[Any, Any]:
    return np.array([r.scores[x_name] for r in rows]), np.array([r.scores[y_name] for r in rows])


def _arrow(objective: tuple[str, bool]) -> str:
    return "↑" if objective[1] else "↓"


def _third(front: Front, lead: tuple[str, bool], other: tuple[str, bool]) -> str | None:
    """The objective that is told by colour, where there are more than two: the next one."""
    names = [name for name, _ in front.objectives]
    rest = [name for name in names if name not in (lead[0], other[0])]
    after = [name for name in rest if names.index(name) > names.index(other[0])]
    return next(iter(after + rest), None)


def _wide(values: Any) -> bool:
    """Whether values need a logarithmic axis."""
    return bool(values.min() > 0 and values.max() > LOG_RATIO * values.min())


def _frame(ax: Axes, x: Any, y: Any) -> None:
    """Show the front with a margin; of what it dominates only what lies near."""
    spread = 0.06 * (np.ptp(y) or abs(y[0]) or 1.0)
    ax.set_ylim(y.min() - spread, y.max() + spread)
    if ax.get_xscale() == "log":
        factor = (x.max() / x.min()) ** 0.06
        ax.set_xlim(x.min() / factor, x.max() * factor)
    else:
        spread = 0.06 * (np.ptp(x) or abs(x[0]) or 1.0)
        ax.set_xlim(x.min() - spread, x.max() + spread)


def front_values(run: RunFiles) -> Mapping[str, Any] | None:
    """Objectives, the reference of the hypervolume, and the architectures of the front."""
    front = run.front
    if front is None or not front.first:
        return None
    columns = shown_columns(front)
    table = Table(["architecture", "", *columns], text_columns=(0, 1))
    for entry in some_of(front, TABLE_ROWS):
        marks = [
            name
            for name, yes in (("knee", entry.knee), ("taken", entry.arch_id == front.taken))
            if yes
        ]
        numbers = [value_text(entry.scores.get(name, math.nan)) for name in columns]
        table.add(code(entry.arch_id), ", ".join(marks), *numbers)
    return {
        "goals": goals_text(front),
        "size": len(front.first),
        "reference": [f"{name} {value_text(value)}" for name, value in front.reference.items()],
        "table": table,
    }
