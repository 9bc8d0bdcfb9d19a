"""The cards at the top of a report: digital, analog after a day, what the network costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nasseg.records.best import Best
from nasseg.records.run_files import RunFiles
from nasseg.report._numbers import statistics
from nasseg.report.markup import count_text
from nasseg.statistics import DAY
from nasseg.text import number, time_name


@dataclass(frozen=True)
class Card:
    """A number in large type."""

    title: str
    value: str
    spread: str
    """In smaller type after it."""
    unit: str
    note: str
    """Further numbers."""


def cards(run: RunFiles) -> list[Card]:
    """The cards of a run."""
    digital = (run.summary or {}).get("digital") or {}
    main, score = run.main_metric
    found = []
    if digital:
        found.append(
            Card("Digital", number(digital.get(main)), "", score, _other_metrics(run, digital))
        )
    for kind in ("recalibrated", "uncalibrated"):
        stats = dict(statistics(run, kind))
        if not stats:
            continue
        time = min(stats, key=lambda seconds: abs(seconds - DAY))
        entry = stats[time]
        value = entry.get(main) or {}
        means = {metric: (entry.get(metric) or {}).get("mean") for metric, _ in run.shown_metrics}
        found.append(
            Card(
                f"Analog after {time_name(time)}",
                number(value.get("mean")),
                f"± {number(value.get('std'))}",
                f"{score}, {kind}",
                _other_metrics(run, means),
            )
        )
    best = run.best or Best()
    params = run.summary.get("params") if run.summary else best.params
    if params is not None:
        notes = []
        if best.macs is not None:
            notes.append(f"{best.macs / 1e6:,.1f} M multiply-accumulates")
        if best.tiles is not None:
            notes.append(f"{count_text(best.tiles)} tiles")
        size = f"{params / 1000:,.0f} k" if params >= 10_000 else f"{params:,}"
        found.append(Card("Network", size, "", "parameters", ", ".join(notes)))
    return found


def _other_metrics(run: RunFiles, values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {number(values.get(metric))}"
        for metric, name in run.shown_metrics
        if metric != run.main_metric[0] and values.get(metric) is not None
    )
