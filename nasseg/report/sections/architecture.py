"""The section of the architecture: stages as boxes by channels and resolution, with skips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from nasseg.errors import NassegError
from nasseg.records.best import Best
from nasseg.records.run_files import RunFiles
from nasseg.report.sections.base import Picture, Section
from nasseg.report.style import BLUE, GREEN, GROUND, INK, MUTED, VIOLET, new_figure
from nasseg.search_spaces import Diagram, SearchSpace, Stage, get_space

ROW = 1.75
"""Height of a resolution level in the drawing."""


def _space(*names: str | None) -> SearchSpace | None:
    """The first of these spaces that is known here; None where none is named.

    Raises:
        NassegError: one is named, and it is not here.
    """
    unknown: NassegError | None = None
    for name in filter(None, names):
        try:
            # An edited space is drawn as the one that it was made of.
            return get_space(name.removesuffix("-custom"))
        except NassegError as error:
            unknown = error
    if unknown is not None:
        raise unknown
    return None


def draw_architecture(
    best: Best | None, image_size: int | None, space_name: str | None = None
) -> Figure | None:
    """An architecture as a picture; None where its space has no diagram, or is not known here.

    Args:
        best: ``best.json``: ``space`` and ``arch``.
        image_size: side of the input in pixels; None: resolutions are written as fractions.
        space_name: name by which the space is found, where it is not that of ``best``.
    """
    try:
        return _drawn(best, image_size, space_name)
    except NassegError:
        return None


def _drawn(best: Best | None, image_size: int | None, space_name: str | None) -> Figure | None:
    """As :func:`draw_architecture`.

    Raises:
        NassegError: the space is not here, as of a plug-in that is not installed.
    """
    if best is None or best.arch is None:
        return None
    space = _space(best.space, space_name)
    try:
        diagram = None if space is None else space.diagram(best.arch)
    except (KeyError, TypeError, ValueError):
        # Hyperparameters of another version of the space.
        return None
    return None if diagram is None else draw_diagram(diagram, image_size)


def draw_diagram(diagram: Diagram, image_size: int | None) -> Figure:
    """The boxes of a diagram from left to right, deeper levels lower."""
    encoder, decoder, stride = diagram.encoder, diagram.decoder, diagram.stride
    colours = [GREEN, *[BLUE] * (len(encoder) - 1), *[VIOLET] * len(decoder)]
    boxes = encoder + decoder
    depth = max(box.level for box in boxes)
    widest = max(box.channels for box in boxes)

    def size(box: Stage) -> tuple[float, float]:
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
        _draw_box(ax, box, centre, size(box), colours[k])
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
    ax.text(
        right + 1.2, centres[-1][1], diagram.output, ha="left", va="center", fontsize=8, color=INK
    )
    for k, (box, skip) in enumerate(zip(decoder, diagram.skips, strict=True), start=len(encoder)):
        if skip is not None:
            source = max(j for j, b in enumerate(encoder) if b.level == box.level)
            _skip(ax, centres, source, k, size(encoder[source])[1], skip)
    ax.text(
        (right - 0.3) / 2,
        low + 0.02,
        f"{diagram.caption}    number in a box: channels",
        ha="center",
        va="bottom",
        fontsize=7.5,
        color=MUTED,
    )
    return figure


def _draw_box(
    ax: Axes,
    box: Stage,
    centre: tuple[float, float],
    size: tuple[float, float],
    colour: str,
) -> None:
    (x, y), (w, h) = centre, size
    corner = (x - w / 2, y - h / 2)
    style = "round,pad=0,rounding_size=0.07"
    # Lines pass behind a box: an opaque ground first, the tint over it.
    ax.add_patch(FancyBboxPatch(corner, w, h, boxstyle=style, fc=GROUND, ec="none", zorder=2))
    ax.add_patch(
        FancyBboxPatch(corner, w, h, boxstyle=style, fc=(colour, 0.18), ec=colour, lw=1.2, zorder=3)
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


def _draw(run: RunFiles) -> Figure | None:
    size = run.setting("data.crop") or run.setting("data.image_size")
    name = run.setting("search.space")
    return _drawn(
        run.best, size if isinstance(size, int) else None, name if isinstance(name, str) else None
    )


class ArchitectureSection(Section):
    """The block diagram, and the active hyperparameters."""

    title = "Architecture"
    template = "architecture.html.j2"
    files = ("best.json",)
    pictures = (Picture("architecture", "the architecture as a block diagram", _draw),)

    def values(self, run: RunFiles) -> Mapping[str, Any]:
        """Hyperparameters; inactive ones (0) are left out."""
        arch = (run.best or Best()).arch or {}
        return {"hyperparameters": [(key, value) for key, value in arch.items() if value != 0]}
