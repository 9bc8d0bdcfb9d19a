"""A picture of what the layers of a network cost on a chip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nasseg.report.style import (
    BLUE,
    GREEN,
    MUTED,
    ORANGE,
    RED,
    VIOLET,
    new_figure,
    style,
    to_png,
)

if TYPE_CHECKING:
    from nasseg.evaluators import LayerCost

NAMES = {
    "array": "array",
    "dac": "DAC",
    "adc": "ADC",
    "tile": "rest of the crossbar",
    "digital": "digital",
    "traffic": "traffic",
}
_COLOURS = dict(zip(NAMES, (GREEN, ORANGE, BLUE, MUTED, VIOLET, RED), strict=True))


def draw_cost(layers: Sequence[LayerCost], title: str = "") -> Figure:
    """Energy of each layer by component, and its time beside it, in the order of execution."""
    figure = new_figure(9.6, max(3.0, 1.1 + 0.17 * len(layers)))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    places = list(range(len(layers)))
    start = [0.0] * len(layers)
    for part, name in NAMES.items():
        values = [layer.energy[part] for layer in layers]
        left.barh(places, values, left=start, color=_COLOURS[part], label=name, height=0.78)
        start = [a + b for a, b in zip(start, values, strict=True)]
    right.barh(places, [layer.latency_us for layer in layers], color=BLUE, height=0.78)
    left.set_yticks(places, [layer.name for layer in layers], fontsize=6.5)
    left.set_ylim(len(layers) - 0.4, -0.6)
    left.set_title(title or "energy of one image")
    left.set_xlabel("energy, microjoules")
    right.set_title("time")
    right.set_xlabel("microseconds")
    for ax in (left, right):
        ax.grid(visible=False, axis="y")
        ax.tick_params(length=0)
    right.xaxis.set_major_locator(MaxNLocator(3))
    left.legend(loc="best")
    return figure


def cost_png(layers: Sequence[LayerCost], title: str = "") -> bytes:
    """:func:`draw_cost` as PNG on white."""
    with style():
        return to_png(draw_cost(layers, title))
