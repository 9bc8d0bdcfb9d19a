"""Numbers, ages, durations and tables as text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from nasseg.errors import ConfigError

METRICS = (("dice", "Dice"), ("iou", "IoU"), ("iou_pooled", "pooled IoU"))
INSTANCE_METRICS = (("dice", "Dice"), ("ap50", "AP at IoU 0.5"), ("ap", "AP 0.5 to 0.95"))
CLASS_METRICS = (
    ("accuracy", "accuracy"),
    ("auc", "AUC"),
    ("balanced_accuracy", "balanced accuracy"),
    ("f1", "F1"),
)
UNITS = {
    "year": 31_536_000.0,
    "month": 2_592_000.0,
    "day": 86_400.0,
    "h": 3_600.0,
    "min": 60.0,
    "s": 1.0,
}
"""Seconds of each unit of an age, the largest first."""
_PLURAL = ("year", "month", "day")
"""Units that take an s; the others are symbols."""
MAX_AGE = 100 * UNITS["year"]
"""Seconds; no noise model was measured for longer."""


def time_name(seconds: float) -> str:
    """Return a time after programming as text: ``1 s``, ``1 h``, ``30 days``, ``1 year``."""
    for unit, size in UNITS.items():
        count = seconds / size
        # Months are read but not written: 30 days are exact.
        if count >= 1 and unit != "month":
            plural = "s" if unit in _PLURAL and f"{count:.3g}" != "1" else ""
            return f"{count:.3g} {unit}{plural}"
    return f"{seconds:.3g} s"


def parse_time(text: str, key: str = "at") -> float:
    """Return the seconds of ``1day``, ``30 days``, ``1h``, ``1year`` or plain seconds.

    Args:
        text: number and unit.
        key: name of the setting, for the message of an error.

    Raises:
        ConfigError: it is not a time above 0.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([a-z]*)\s*", text.lower())
    sizes = {**UNITS, **{f"{unit}s": UNITS[unit] for unit in _PLURAL}, "": 1.0}
    try:
        seconds = float(match[1]) * sizes[match[2]] if match else 0.0
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds <= MAX_AGE:
        raise ConfigError(
            f"{key} is {text!r}; allowed: a time after programming such as 1s, 1h, 1day, 30days, "
            "1year, or seconds; 100 years at most"
        )
    return seconds


def duration_name(seconds: float) -> str:
    """Return a wall-clock duration as text: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def metrics_of(names: Iterable[str], first: str | None = None) -> tuple[tuple[str, str], ...]:
    """Metrics to show with their titles, those of the kind of task that ``names`` are of.

    Args:
        names: metrics that were measured.
        first: the one that the run is scored by; none = the task's own.
    """
    known = set(names)
    if "accuracy" in known:
        shown = tuple(entry for entry in CLASS_METRICS if entry[0] in known)
    elif "ap50" in known:
        shown = INSTANCE_METRICS
    elif classes := sorted(name for name in known if name.startswith("dice_")):
        named = ((name, f"Dice {name.removeprefix('dice_')}") for name in classes)
        shown = (*METRICS[:2], *named)
    else:
        shown = METRICS
    return tuple(sorted(shown, key=lambda entry: entry[0] != first))


def score_name(key: str | None) -> str:
    """The title of a metric: ``Dice`` of ``dice``, the key itself where it has none."""
    titles = dict((*METRICS, *INSTANCE_METRICS, *CLASS_METRICS))
    return titles.get(key or "dice", key or "")


def number(value: Any, digits: int = 3) -> str:
    """Return a metric with fixed digits; a dash where it is missing or not finite."""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return f"{value:.{digits}f}"
    return "-"


def value_text(value: float) -> str:
    """Return a score of any size in few characters; a dash where it is unknown."""
    if not math.isfinite(value):
        return "-"
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def markdown_table(rows: Iterable[Sequence[object]], columns: Sequence[str]) -> str:
    """Return a table in Markdown.

    Args:
        rows: cells of each row, as many as there are columns.
        columns: titles.

    Raises:
        ValueError: a row has another number of cells.
    """
    lines = [_markdown_row(columns), "|---" * len(columns) + "|"]
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"a row of {len(row)} cells under {len(columns)} columns: {row}")
        lines.append(_markdown_row(row))
    return "\n".join(lines)


def _markdown_row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
