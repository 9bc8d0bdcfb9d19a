"""The section of accuracy over time: a picture, and tables over chips."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from nasseg.records.run_files import RunFiles
from nasseg.records.tables import KINDS, format_plan, format_sampled
from nasseg.report._numbers import chips_of, statistics
from nasseg.report.markup import Table, known, with_small
from nasseg.report.sections.base import Picture, Section
from nasseg.report.style import BLUE, INK, ORANGE, new_figure, strip_axes
from nasseg.statistics import DAY, MONTH, share_at_least, spread
from nasseg.tasks import bad_chip
from nasseg.text import number, time_name

_LINES = ((True, "recalibrated", BLUE, "o"), (False, "uncalibrated", ORANGE, "s"))


def draw_drift(run: RunFiles) -> Figure | None:
    """The score and a second metric over time since programming; None where nothing was measured.

    The second is AP of nuclei, pooled IoU, or what comes after the score.

    Lines are means over chips, bands one standard deviation to either side, dotted lines the 5th
    percentile chip (of errors the 95th), the dashed line the digital network.
    """
    digital: Mapping[str, Any] = (run.summary or {}).get("digital") or {}
    names = dict(run.shown_metrics)
    main = run.main_metric[0]
    others = [name for name in names if name != main]
    second = next((m for m in ("ap50", "iou_pooled") if m in others), [*others, main][0])
    metrics = [
        metric
        for metric in dict.fromkeys((main, second))
        if any(run.drift.by_time(metric, recalibrated=kind) for kind, *_ in _LINES)
    ]
    if not metrics:
        return None
    figure = new_figure(9.6, 3.7)
    axes: Sequence[Axes] = figure.subplots(1, len(metrics), squeeze=False)[0]
    times = run.drift.times
    for ax, metric in zip(axes, metrics, strict=True):
        for recalibrated, label, colour, marker in _LINES:
            stats = run.drift.by_time(metric, recalibrated=recalibrated)
            if not stats:
                continue
            x = [time for time, _ in stats]
            low, high = [s.mean - s.std for _, s in stats], [s.mean + s.std for _, s in stats]
            ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
            bad = [getattr(s, bad_chip(metric, run.task)) for _, s in stats]
            ax.plot(x, bad, color=colour, linestyle=":", linewidth=1.2)
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
        strip_axes(ax)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _scores(run: RunFiles) -> Table:
    """Digital, and each time: mean, std and a bad chip of every metric."""
    table = Table(["", *(name for _, name in run.shown_metrics)])
    digital = (run.summary or {}).get("digital")
    if digital:
        cells = [number(digital.get(metric), 4) for metric, _ in run.shown_metrics]
        table.add("digital", *cells)
    for kind, title in KINDS:
        stats = statistics(run, kind)
        if stats:
            table.add(f"analog, {title}", css="rule")
        for time, entry in stats:
            cells = []
            for metric, _ in run.shown_metrics:
                over = entry.get(metric) or {}
                bad = bad_chip(metric, run.task)
                mean, std, worse = (number(over.get(key), 4) for key in ("mean", "std", bad))
                cells.append(with_small(f"{mean} ± {std}", f"{bad} {worse}"))
            table.add(time_name(time), *cells)
    return table


def _variation(run: RunFiles) -> list[str]:
    """Loss of the score from a second to a month."""
    lines = []
    main = run.main_metric[0]
    for kind, _ in KINDS:
        stats = dict(statistics(run, kind))
        first, month = stats.get(1.0), stats.get(MONTH)
        if first and month and first.get(main) and month.get(main):
            points = 100 * (float(first[main]["mean"]) - float(month[main]["mean"]))
            lines.append(f"{points:.2f} points {kind}")
    return lines


def _shares(run: RunFiles) -> Table | None:
    """Share of the chips above several bounds of the score, and the worst chip, by time."""
    main, score = run.main_metric
    if not run.drift:
        return None
    values = [entry.scores[main] for entry in run.drift if main in entry.scores]
    if not values:
        return None
    # Bounds where chips differ: from the worst chip to the best, on round numbers.
    low, high = min(values), max(values)
    step = next((s for s in (0.002, 0.005, 0.01, 0.02, 0.05) if (high - low) / s <= 6), 0.1)
    bounds = [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)][-6:]
    table = Table(["", "worst chip", *(f"{score} ≥ {bound:.3f}" for bound in bounds)])
    for recalibrated, title in ((True, "recalibrated"), (False, "uncalibrated")):
        for time in run.drift.times:
            scores = run.drift.values(main, recalibrated=recalibrated, time_s=time)
            if scores:
                shares = [f"{share_at_least(scores, bound):.0%}" for bound in bounds]
                table.add(f"{time_name(time)}, {title}", number(min(scores), 4), *shares)
    return table


def _sweep(run: RunFiles) -> Table | None:
    """The score after a day for memories with less and with more noise."""
    if not run.sweep:
        return None
    main = run.main_metric[0]
    scales = {row.noise_scale for row in run.sweep if row.noise_scale is not None}
    if DAY in run.drift.times:
        scales.add(1.0)
    table = Table(["noise and drift of the memory", "recalibrated", "uncalibrated"])
    for scale in sorted(scales):
        cells: list[object] = [f"{scale:g} x"]
        for recalibrated in (True, False):
            scores = run.sweep.values(main, recalibrated=recalibrated, noise_scale=scale)
            if scale == 1.0:
                scores += run.drift.values(main, recalibrated=recalibrated, time_s=DAY)
            if not scores:
                cells.append("-")
                continue
            over = spread(scores)
            text = f"{number(over.mean, 4)} ± {number(over.std, 4)}"
            cells.append(with_small(text, f"{len(scores)} chips"))
        table.add(*cells)
    return table


class DriftSection(Section):
    """Scores of the chips over time since programming."""

    title = "Accuracy over time since programming"
    template = "drift.html.j2"
    files = (
        "drift.csv",
        "summary.json",
    )
    pictures = (
        Picture("drift", "the score and a second metric over time since programming", draw_drift),
    )

    def values(self, run: RunFiles) -> Mapping[str, Any]:
        """Tables of scores, of shares of the chips, of noisier memories; the refresh plan."""
        _, score = run.main_metric
        return {
            "scores": _scores(run),
            "score": score,
            "chips": known(chips_of(run)),
            "sampled": format_sampled(run.summary or {}),
            "metric_note": run.metric_note,
            "variation": _variation(run),
            "shares": _shares(run),
            "sweep": _sweep(run),
            "plan": None if run.plan is None else format_plan(run.plan),
        }
