"""The winner drawn: stages as boxes, sized by channels and resolution, with skips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from nasseg.records.best import Best
from nasseg.report.style import BLUE, GREEN, GROUND, INK, MUTED, VIOLET, new_figure

BLOCKS = {1: "basic", 2: "bottleneck"}
ROW = 1.75
"""Height of a resolution level in the drawing."""


@dataclass(frozen=True)
class Box:
    """One stage in the drawing."""

    title: str
    lines: tuple[str, ...]
    channels: int
    level: int
    """Halvings of the resolution."""
    colour: str


def plan_unet(arch: Mapping[str, Any]) -> tuple[list[Box], list[Box]]:
    """Encoder boxes (stem first) and decoder boxes (deepest first) of a ``unet`` architecture.

    Raises:
        KeyError: a hyperparameter of the space is missing.
    """
    from nasseg.search_spaces.unet import stage_widths

    widths = stage_widths(arch)
    pyramidal = arch["topology"] == "pyramidal"
    levels = [i if pyramidal else min(i, 1) for i in range(len(widths))]
    kernel = arch["kernel0"]
    encoder = [Box("stem", (f"{kernel}x{kernel}",), int(arch["out_channel0"]), 0, GREEN)]
    for i, (width, level) in enumerate(zip(widths, levels, strict=True), start=1):
        count, branches = int(arch[f"R{i}"]), int(arch[f"B{i}"])
        block = BLOCKS.get(int(arch[f"convblock{i}"]), "?")
        lines = [f"{count} x {block}"]
        if branches > 1:
            lines.append(f"{branches} branches")
        encoder.append(Box(f"stage {i}", tuple(lines), width, level, BLUE))
    side = arch["dec_kernel"]
    decoder = []
    for level in range(levels[-1] - 1, -1, -1):
        width = widths[max(k for k, at in enumerate(levels) if at == level)]
        lines = [f"{arch['dec_depth']} x {side}x{side}"]
        decoder.append(Box("decoder", tuple(lines), width, level, VIOLET))
    return encoder, decoder


def draw_architecture(best: Best | None, image_size: int | None) -> Figure | None:
    """An architecture of a ``unet`` space as a picture; None for others and unknown ones.

    Args:
        best: ``best.json``: ``space`` and ``arch``.
        image_size: side of the input in pixels; None = resolutions are said as fractions.
    """
    arch, space = (best or Best()).arch, str((best or Best()).space)
    if arch is None or not space.startswith("unet"):
        return None
    stride = 2 if space.startswith("unet_half") else 1
    try:
        encoder, decoder = plan_unet(arch)
    except (KeyError, TypeError, ValueError):
        return None
    boxes = encoder + decoder
    depth = max(box.level for box in boxes)
    widest = max(box.channels for box in boxes)

    def size(box: Box) -> tuple[float, float]:
        return 0.32 + 0.78 * box.channels / widest, 1.15 * 0.8**box.level

    step = 1.62
    centres = [(k * step, -box.level * ROW) for k, box in enumerate(boxes)]
    right = (len(boxes) - 1) * step
    left, low, high = -2.7, -depth * ROW - 1.85, 0.95
    scale = min(0.62, 9.6 / (right + 2.0 - left))
    figure = new_figure((right + 2.0 - left) * scale, (high - low) * scale)
    ax = figure.subplots()
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.set_xlim(left, right + 2.0)
    ax.set_ylim(low, high)
    for level in range(depth + 1):
        factor = stride * 2**level
        text = f"1/{factor}" if factor > 1 else "full size"
        if image_size:
            text = f"{-(-image_size // factor)} px"
        ax.text(left, -level * ROW, text, ha="left", va="center", fontsize=7.5, color=MUTED)
    for k, (box, centre) in enumerate(zip(boxes, centres, strict=True)):
        _draw_box(ax, box, centre, size(box))
        if k:
            before = centres[k - 1]
            _arrow(
                ax,
                (before[0] + size(boxes[k - 1])[0] / 2, before[1]),
                (centre[0] - size(box)[0] / 2, centre[1]),
            )
    _arrow(ax, (-0.95, 0.0), (centres[0][0] - size(encoder[0])[0] / 2, 0.0))
    ax.text(-1.0, 0.0, "image", ha="right", va="center", fontsize=8, color=INK)
    last = centres[-1][0] + size(boxes[-1])[0] / 2
    _arrow(ax, (last, centres[-1][1]), (right + 1.15, centres[-1][1]))
    ax.text(right + 1.2, centres[-1][1], "mask", ha="left", va="center", fontsize=8, color=INK)
    if arch["skip"] != "none":
        for k, box in enumerate(decoder, start=len(encoder)):
            source = max(j for j, b in enumerate(encoder) if b.level == box.level)
            _skip(ax, centres, source, k, size(encoder[source])[1], str(arch["skip"]))
    upsample = {"transposed": "1x1 + pixel shuffle", "bilinear": "1x1 + bilinear"}
    ax.text(
        (right - 0.3) / 2,
        low + 0.02,
        f"{arch['topology']}    skip: {arch['skip']}    "
        f"upsampling: {upsample.get(arch['upsample'], arch['upsample'])}    "
        "number in a box: channels",
        ha="center",
        va="bottom",
        fontsize=7.5,
        color=MUTED,
    )
    return figure


def _draw_box(ax: Axes, box: Box, centre: tuple[float, float], size: tuple[float, float]) -> None:
    (x, y), (w, h) = centre, size
    corner = (x - w / 2, y - h / 2)
    style = "round,pad=0,rounding_size=0.07"
    # Lines pass behind a box: an opaque ground first, the tint over it.
    ax.add_patch(FancyBboxPatch(corner, w, h, boxstyle=style, fc=GROUND, ec="none", zorder=2))
    ax.add_patch(
        FancyBboxPatch(
            corner, w, h, boxstyle=style, fc=(box.colour, 0.18), ec=box.colour, lw=1.2, zorder=3
        )
    )
    ax.text(x, y, str(box.channels), ha="center", va="center", fontsize=8.5, color=INK, zorder=4)
    text = "\n".join((box.title, *box.lines))
    ax.text(
        x,
        y - h / 2 - 0.07,
        text,
        ha="center",
        va="top",
        fontsize=6.4,
        color=MUTED,
        zorder=4,
        linespacing=1.25,
    )


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=7,
            lw=1.0,
            color=MUTED,
            shrinkA=1.5,
            shrinkB=1.5,
            zorder=1,
        )
    )


def _skip(
    ax: Axes,
    centres: list[tuple[float, float]],
    source: int,
    target: int,
    height: float,
    label: str,
) -> None:
    """A dashed line over the boxes between an encoder stage and its decoder level."""
    (x0, y), (x1, _) = centres[source], centres[target]
    top = y + height / 2
    style: dict[str, Any] = {
        "color": MUTED,
        "linestyle": (0, (3, 2)),
        "linewidth": 1.0,
        "zorder": 1,
    }
    lift = 0.22
    ax.plot([x0, x0, x1, x1], [top, top + lift, top + lift, top + 0.02], **style)
    ax.text(
        (x0 + x1) / 2,
        top + lift,
        label,
        ha="center",
        va="center",
        fontsize=6.6,
        color=MUTED,
        backgroundcolor=GROUND,
        zorder=2,
    )
