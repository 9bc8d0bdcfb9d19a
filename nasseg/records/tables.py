"""Results of a run as tables for the terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from nasseg.tasks import bad_chip, lower_is_better, metric_title, metrics_of
from nasseg.text import duration_name, number, time_name

KINDS = (
    ("recalibrated", "BatchNorm recalibrated on each drifted chip"),
    ("uncalibrated", "as programmed (uncalibrated)"),
)


def by_time(summary: Mapping[str, Any]) -> list[tuple[float, Mapping[str, Any]]]:
    """Return the analog part of a summary, its times as numbers, in rising order."""
    analog = summary.get("analog") or {}
    return sorted((float(time), entry) for time, entry in analog.items())


def format_summary(summary: Mapping[str, Any]) -> str:
    """Return the numbers of a run in at most 80 columns; parts that are missing are left out.

    Args:
        summary: as written to ``summary.json``: ``digital`` (metric to value), ``analog`` (time
            in seconds to kind to metric to mean, std, p05, p95), ``arch_id``, ``params``, ``seed``,
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
    task = summary.get("task")
    metrics = metrics_of(digital, summary.get("monitor"), task)[:3]
    if digital or times:
        head = "".join(f"{name:>22}" for _, name in metrics)
        lines = [f"{'':12}{head}"]
        if digital:
            cells = "".join(f"{number(digital.get(key)):>22}" for key, _ in metrics)
            lines.append(f"{'digital':12}{cells}")
        if times:
            chips = f"{summary['chips']} chips" if summary.get("chips") else "chips"
            errors = [name for key, name in metrics if lower_is_better(key, task)]
            other = f"; {', '.join(errors)}: 95th" if errors else ""
            lines += ["", f"analog: mean ± std over {chips} [5th percentile chip{other}]"]
            sampled = format_sampled(summary)
            lines += [] if sampled is None else [sampled]
        for kind, title in KINDS:
            measured = [(time, entry[kind]) for time, entry in times if entry.get(kind)]
            if measured:
                lines.append(title)
            for time, values in measured:
                cells = "".join(
                    f"{_cell(values.get(key), bad_chip(key, task)):>22}" for key, _ in metrics
                )
                lines.append(f"  {time_name(time):10}{cells}")
        blocks.append("\n".join(lines))
    seconds = summary.get("seconds") or {}
    if seconds:
        parts = [f"{stage} {duration_name(taken)}" for stage, taken in seconds.items()]
        blocks.append(textwrap.fill("time: " + ", ".join(parts), 79, break_on_hyphens=False))
    return "\n\n".join(block for block in blocks if block)


def format_sampled(summary: Mapping[str, Any]) -> str | None:
    """Return on how many images each chip was measured, and how far off a mean over chips may be.

    None where it was on all of them.
    """
    errors = summary.get("standard_errors")
    if not errors:
        return None
    name = summary.get("monitor") or "dice"
    known = [state[name] for entry in errors.values() for state in entry.values() if name in state]
    worst = f"; standard error of a mean of {metric_title(name)}: {max(known):.4f}" if known else ""
    return f"each chip on {summary.get('images_each')} other images{worst}"


def _cell(value: Mapping[str, Any] | None, bad: str) -> str:
    if not value:
        return "-"
    return f"{number(value.get('mean'))} ± {number(value.get('std'))} [{number(value.get(bad))}]"


def format_shares(
    rows: Sequence[Mapping[str, Any]], bound: float, monitor: str | None = None
) -> str:
    """Return the share of chips with a score of ``bound`` or more, at each time, as a table.

    Args:
        rows: of ``drift.csv``: ``chip``, ``time_s``, ``recalibrated`` and metrics.
        bound: the score asked for.
        monitor: the metric; None: ``dice``.
    """
    # NumPy is not needed, nor waited for, where only a summary is shown.
    from nasseg.statistics import STATES, ages, share_at_least, values_at

    measured = {bool(row["recalibrated"]) for row in rows}
    states = [(name, state) for state, name in reversed(STATES) if state in measured]
    lines = [f"share of chips with {metric_title(monitor)} >= {bound:g} (worst chip)"]
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
    """Return a refresh plan, as ``plan.json`` holds it, as text."""
    who = f"{plan['share']:.0%} of {plan['chips']} chips at "
    who += f"{metric_title(plan.get('metric'))} >= {plan['min_value']:g}"
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


def format_predicted(best: Mapping[str, Any], monitor: str | None = None) -> str:
    """Return what a surrogate predicted of the architecture of a ``best.json``, with the images
    that it learned from; empty where none was asked.

    ``monitor`` is the metric that the run is scored by, and the surrogate too if it says no other.
    """
    predicted = best.get("predicted")
    if not isinstance(predicted, Mapping) or not isinstance(predicted.get("day1"), float):
        return ""
    surrogate = best.get("surrogate")
    known = surrogate if isinstance(surrogate, Mapping) else {}
    metric = metric_title(known.get("metric") or monitor)
    return textwrap.fill(
        f"predicted, for {known.get('images') or 'the images of the surrogate'}: {metric} after a "
        f"day {predicted['day1']:.4f}; nothing was measured on yours (--budget does)",
        79,
    )


def format_measured(best: Mapping[str, Any], monitor: str | None = None) -> str:
    """Return the best of a measured search, from ``best.json``; empty without one.

    ``monitor`` is the metric that the run is scored by, and the search too if it records no other.
    """
    measured = best.get("measured")
    if not isinstance(measured, Mapping):
        return ""
    monitor = measured.get("metric") or monitor
    budget = best.get("budget", {})
    parts = [
        f"{title} {measured[key]:.4f}"
        for key, title in (
            ("day1", f"{metric_title(monitor)} after a day"),
            ("std", "chip-to-chip std"),
            ("digital", "digital"),
        )
        if isinstance(measured.get(key), float)
    ]
    if budget.get("plan"):
        return (
            f"best found: {best.get('arch_id')}: {', '.join(parts)} (on training images held out; "
            f"{budget['plan']})"
        )
    how = f"{budget.get('measure')} architectures asked for, "
    if budget.get("strategy") == "darts":
        how += "proposed by a supernet"
    else:
        how += f"sampler {budget.get('sampler')}"
    return f"best measured: {best.get('arch_id')}: {', '.join(parts)} ({how}; short training)"
