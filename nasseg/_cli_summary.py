"""A run's ``summary.json`` as a table for the terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import Any

METRICS = (("dice", "Dice"), ("iou", "IoU"), ("iou_pooled", "pooled IoU"))
KINDS = (
    ("recalibrated", "BatchNorm recalibrated on each drifted chip"),
    ("uncalibrated", "as programmed (uncalibrated)"),
)
_UNITS = ((31_536_000.0, "year"), (86_400.0, "day"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))


def time_name(seconds: float) -> str:
    """A time after programming in words: ``1 s``, ``1 h``, ``30 days``, ``1 year``."""
    for size, unit in _UNITS:
        count = seconds / size
        if count >= 1:
            plural = "s" if unit in ("day", "year") and f"{count:.3g}" != "1" else ""
            return f"{count:.3g} {unit}{plural}"
    return f"{seconds:.3g} s"


def duration_name(seconds: float) -> str:
    """A wall-clock duration: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def number(value: Any, digits: int = 3) -> str:
    """A metric with fixed digits; a dash where it is missing or not finite."""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return f"{value:.{digits}f}"
    return "-"


def by_time(summary: Mapping[str, Any]) -> list[tuple[float, Mapping[str, Any]]]:
    """The analog part of a summary, its times as numbers, rising."""
    analog = summary.get("analog") or {}
    return sorted((float(time), entry) for time, entry in analog.items())


def format_summary(summary: Mapping[str, Any]) -> str:
    """The numbers of a run in at most 80 columns; parts that are missing are left out.

    Args:
        summary: as written to ``summary.json``: ``digital`` (metric to value), ``analog`` (time
            in seconds to kind to metric to mean, std, p05), ``arch_id``, ``params``, ``seed``,
            ``seconds`` (stage to seconds).
    """
    facts = []
    if summary.get("arch_id"):
        facts.append(f"architecture {summary['arch_id']}")
    if summary.get("params") is not None:
        facts.append(f"{summary['params']:,} parameters")
    if summary.get("seed") is not None:
        facts.append(f"seed {summary['seed']}")
    blocks = [", ".join(facts)]
    digital = summary.get("digital") or {}
    times = by_time(summary)
    if digital or times:
        head = "".join(f"{name:>22}" for _, name in METRICS)
        lines = [f"{'':12}{head}"]
        if digital:
            cells = "".join(f"{number(digital.get(key)):>22}" for key, _ in METRICS)
            lines.append(f"{'digital':12}{cells}")
        if times:
            lines += ["", "analog: mean ± std over chips [5th percentile chip]"]
        for kind, title in KINDS:
            measured = [(time, entry[kind]) for time, entry in times if entry.get(kind)]
            if measured:
                lines.append(title)
            for time, metrics in measured:
                cells = "".join(f"{_cell(metrics.get(key)):>22}" for key, _ in METRICS)
                lines.append(f"  {time_name(time):10}{cells}")
        blocks.append("\n".join(lines))
    seconds = summary.get("seconds") or {}
    if seconds:
        parts = [f"{stage} {duration_name(taken)}" for stage, taken in seconds.items()]
        blocks.append(textwrap.fill("time: " + ", ".join(parts), 79, break_on_hyphens=False))
    return "\n\n".join(block for block in blocks if block)


def _cell(value: Mapping[str, Any] | None) -> str:
    if not value:
        return "-"
    return f"{number(value.get('mean'))} ± {number(value.get('std'))} [{number(value.get('p05'))}]"
