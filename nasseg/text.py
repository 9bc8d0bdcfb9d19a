"""Numbers, ages, durations and tables as text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from nasseg.errors import ConfigError

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


def number(value: Any, digits: int = 3) -> str:
    """Return a metric with fixed digits; a dash where it is missing or not finite."""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return f"{value:.{digits}f}"
    return "-"


def spread_text(mean: Any, std: Any, digits: int = 3) -> str:
    """Return a mean ± its standard deviation; ``std`` None: the mean alone."""
    text = number(mean, digits)
    return text if std is None else f"{text} ± {number(std, digits)}"


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
