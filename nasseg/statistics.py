"""Statistics over chips: the one definition of a mean, a deviation and a bad chip."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nasseg import text

Values = npt.NDArray[np.float64]

DAY, MONTH, YEAR = 86_400.0, 2_592_000.0, 31_536_000.0
"""Seconds after programming at which chips are compared."""
BAD_CHIP = 0.05
"""Quantile of the chips that is reported beside their mean; of errors, one minus it."""
STATES = ((False, "uncalibrated"), (True, "recalibrated"))
"""Whether BatchNorm statistics were re-estimated on the drifted chip, and the state's name."""
FACTS = ("noise_scale", "chip", "time_s", "recalibrated", "part", "images")
"""Columns of a drift table that are not metrics."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A metric over chips."""

    mean: float
    std: float
    """Standard deviation of a sample (n - 1); 0 for a single chip."""
    p05: float
    """5th percentile, interpolated linearly: a bad chip where higher is better."""
    p95: float
    """95th percentile: a bad chip where the metric is an error."""
    min: float
    """The lowest of all chips."""

    def to_dict(self) -> dict[str, float]:
        """JSON-able."""
        return asdict(self)


def spread(values: Sequence[float] | Values) -> Spread:
    """Return mean, deviation, 5th and 95th percentile and minimum over chips.

    Args:
        values: one a chip (n,), at least one. NaN makes every statistic NaN.
    """
    array = np.asarray(values, dtype=np.float64)
    return Spread(
        float(array.mean()),
        float(array.std(ddof=1)) if len(array) > 1 else 0.0,
        float(np.quantile(array, BAD_CHIP)),
        float(np.quantile(array, 1 - BAD_CHIP)),
        float(array.min()),
    )


def spread_text(values: Iterable[float], digits: int = 3) -> str:
    """Return mean ± deviation of a sample as text; the value alone where there is only one."""
    known = list(values)
    over = spread(known)
    return text.spread_text(over.mean, over.std if len(known) > 1 else None, digits)


def share_at_least(values: Sequence[float] | Values, bound: float) -> float:
    """Return the share of chips that reach ``bound``; 0 without a chip."""
    array = np.asarray(values, dtype=np.float64)
    return float((array >= bound).mean()) if len(array) else 0.0


def metric_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the metrics of rows of a drift table, in the order in which they first occur."""
    return [name for name in dict.fromkeys(key for row in rows for key in row) if name not in FACTS]


def values_at(
    rows: Iterable[Mapping[str, Any]],
    metric: str,
    *,
    recalibrated: bool,
    time_s: float | None = None,
) -> Values:
    """Return a metric of the chips in one state, (n,); of every age without ``time_s``."""
    return np.array(
        [
            row[metric]
            for row in rows
            if bool(row["recalibrated"]) is recalibrated
            and (time_s is None or row["time_s"] == time_s)
            and row.get(metric) is not None
        ],
        dtype=np.float64,
    )


def ages(rows: Iterable[Mapping[str, Any]]) -> list[float]:
    """Return the times after programming that were measured, in seconds, rising."""
    return sorted({row["time_s"] for row in rows})


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the statistics of a drift table by time, state and metric.

    Chips whose metric is undefined (NaN) are left out of that metric.

    Returns:
        ``{time_s: {"recalibrated" | "uncalibrated": {metric: statistics}}}``, statistics being
        ``mean``, ``std``, ``p05``, ``p95`` and ``min``, with times as integers in
        decimal where they are whole.
    """
    names = metric_names(rows)
    summary: dict[str, dict[str, dict[str, Any]]] = {}
    for time_s in ages(rows):
        for recalibrated, state in STATES:
            found = {
                name: values_at(rows, name, time_s=time_s, recalibrated=recalibrated)
                for name in names
            }
            if not any(len(values) for values in found.values()):
                continue
            summary.setdefault(f"{time_s:.15g}", {})[state] = {
                name: spread(defined if len(defined) else [np.nan]).to_dict()
                for name, values in found.items()
                for defined in [values[~np.isnan(values)]]
            }
    return summary
