"""A run's ``summary.json`` as a table for the terminal."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
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
KINDS = (
    ("recalibrated", "BatchNorm recalibrated on each drifted chip"),
    ("uncalibrated", "as programmed (uncalibrated)"),
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
    """A time after programming in words: ``1 s``, ``1 h``, ``30 days``, ``1 year``."""
    for unit, size in UNITS.items():
        count = seconds / size
        # Months are read but not written: 30 days are exact.
        if count >= 1 and unit != "month":
            plural = "s" if unit in _PLURAL and f"{count:.3g}" != "1" else ""
            return f"{count:.3g} {unit}{plural}"
    return f"{seconds:.3g} s"


def parse_time(text: str, key: str = "at") -> float:
    """Seconds of ``1day``, ``30 days``, ``1h``, ``1year`` or plain seconds.

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
    """A wall-clock duration: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_measured(best: Mapping[str, Any], monitor: str | None = None) -> str:
    """The winner of a measured search, from ``best.json``; empty where nothing was measured.

    ``monitor`` is the metric that the run is scored by, and the search too if it says nothing else.
    """
    measured = best.get("measured")
    if not isinstance(measured, Mapping):
        return ""
    monitor = measured.get("metric") or monitor
    budget = best.get("budget", {})
    parts = [
        f"{title} {measured[key]:.4f}"
        for key, title in (
            ("day1", f"{score_name(monitor)} after a day"),
            ("std", "chip-to-chip std"),
            ("digital", "digital"),
        )
        if isinstance(measured.get(key), float)
    ]
    how = f"{budget.get('measure')} architectures asked for, "
    if budget.get("strategy") == "darts":
        how += "proposed by a supernet"
    else:
        how += f"sampler {budget.get('sampler')}"
    return f"best measured: {best.get('arch_id')}: {', '.join(parts)} ({how}; short training)"


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
    # As many as fit beside each other.
    metrics = metrics_of(digital, summary.get("monitor"))[:3]
    if digital or times:
        head = "".join(f"{name:>22}" for _, name in metrics)
        lines = [f"{'':12}{head}"]
        if digital:
            cells = "".join(f"{number(digital.get(key)):>22}" for key, _ in metrics)
            lines.append(f"{'digital':12}{cells}")
        if times:
            chips = f"{summary['chips']} chips" if summary.get("chips") else "chips"
            lines += ["", f"analog: mean ± std over {chips} [5th percentile chip]"]
        for kind, title in KINDS:
            measured = [(time, entry[kind]) for time, entry in times if entry.get(kind)]
            if measured:
                lines.append(title)
            for time, values in measured:
                cells = "".join(f"{_cell(values.get(key)):>22}" for key, _ in metrics)
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


def format_shares(
    rows: Sequence[Mapping[str, Any]], bound: float, monitor: str | None = None
) -> str:
    """Share of the chips with a score of ``bound`` or more, at each time, as a table.

    Args:
        rows: of ``drift.csv``: ``chip``, ``time_s``, ``recalibrated`` and metrics.
        bound: the score asked for.
        monitor: the metric; none = ``dice``.
    """
    # NumPy is not needed, nor waited for, where only a summary is shown.
    from nasseg.statistics import STATES, ages, share_at_least, values_at

    measured = {bool(row["recalibrated"]) for row in rows}
    states = [(name, state) for state, name in reversed(STATES) if state in measured]
    lines = [f"share of chips with {score_name(monitor)} >= {bound:g} (worst chip)"]
    lines.append(f"{'':12}" + "".join(f"{name:>22}" for name, _ in states))
    for time in ages(rows):
        cells = ""
        for _, state in states:
            values = values_at(rows, monitor or "dice", time_s=time, recalibrated=state)
            text = "-"
            if len(values):
                text = f"{share_at_least(values, bound):.0%} ({number(float(values.min()))})"
            cells += f"{text:>22}"
        lines.append(f"  {time_name(time):10}{cells}")
    return "\n".join(lines)


def format_plan(plan: Mapping[str, Any]) -> str:
    """A refresh plan, as ``plan.json`` holds it, in words."""
    who = f"{plan['share']:.0%} of {plan['chips']} chips at "
    who += f"{score_name(plan.get('metric'))} >= {plan['min_value']:g}"
    span = time_name(plan["horizon_s"])
    lines = [f"plan to keep {who} for {span}"]
    for action in plan["actions"]:
        lines.append(f"  at {time_name(action['time_s'])}: {action['kind']} every chip")
    looks = plan["looks"]
    if plan["reprogram_every_s"]:
        count = math.ceil(plan["horizon_s"] / plan["reprogram_every_s"]) - 1
        lines.append(
            f"  and so on, every {time_name(plan['reprogram_every_s'])}: {count} times in all"
        )
    if not plan["feasible"]:
        lines.append(
            f"  not possible: of fresh chips, too, fewer than {plan['share']:.0%} have that"
        )
    elif not plan["actions"]:
        lines.append("  nothing to do")
    if looks:
        low = min(looks, key=lambda look: look["value"])
        lines.append(
            f"  lowest on the way: {number(low['value'])} at {time_name(low['time_s'])} "
            f"(mean {number(low['mean'])}, worst chip {number(low['worst'])})"
        )
    return "\n".join(lines)
