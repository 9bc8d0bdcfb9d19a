"""The numbers of a run that several parts of its report show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasseg.records.run_files import RunFiles
from nasseg.records.tables import by_time


def chips_of(run: RunFiles) -> int | None:
    """Programmed chips that were evaluated; what was asked for where no table is there."""
    if run.drift:
        return len(run.drift.chips)
    chips = run.setting("drift.chips")
    return chips if isinstance(chips, int) else None


def statistics(run: RunFiles, kind: str) -> list[tuple[float, dict[str, Mapping[str, Any]]]]:
    """For each time, rising: metric to mean, std, p05. The summary's, else from the chip table."""
    if run.summary and run.summary.get("analog"):
        found = [(time, entry.get(kind)) for time, entry in by_time(run.summary)]
        return [(time, dict(metrics)) for time, metrics in found if metrics]
    times: dict[float, dict[str, Mapping[str, Any]]] = {}
    for metric, _ in run.shown_metrics:
        for time, over in run.drift.by_time(metric, recalibrated=kind == "recalibrated"):
            times.setdefault(time, {})[metric] = over.to_dict()
    return sorted(times.items())
