"""The numbers of a run: digital, and analog over chips and time."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from nasseg._cli_summary import KINDS, METRICS, by_time, number, time_name
from nasseg.report._html import count_text, known, row, table
from nasseg.report._load import RunFiles, chip_statistics

DAY = 86_400.0


def chips_of(run: RunFiles) -> int | None:
    """Programmed chips that were evaluated; what was asked for where no table is there."""
    if run.drift:
        return len({row.chip for row in run.drift})
    chips = run.setting("drift.chips")
    return chips if isinstance(chips, int) else None


def statistics(run: RunFiles, kind: str) -> list[tuple[float, dict[str, Mapping[str, Any]]]]:
    """For each time, rising: metric to mean, std, p05. The summary's, else from the chip table."""
    if run.summary and run.summary.get("analog"):
        found = [(time, entry.get(kind)) for time, entry in by_time(run.summary)]
        return [(time, dict(metrics)) for time, metrics in found if metrics]
    times: dict[float, dict[str, Mapping[str, Any]]] = {}
    for metric, _ in METRICS:
        for time, mean, std, p05 in chip_statistics(run.drift, metric, kind == "recalibrated"):
            times.setdefault(time, {})[metric] = {"mean": mean, "std": std, "p05": p05}
    return sorted(times.items())


def headline(run: RunFiles) -> str:
    """Cards: digital, analog after a day, what it costs."""
    digital = (run.summary or {}).get("digital") or {}
    cards = []
    if digital:
        cards.append(
            _card("Digital", number(digital.get("dice")), "", "Dice", _other_metrics(digital))
        )
    for kind, title in (("recalibrated", "recalibrated"), ("uncalibrated", "uncalibrated")):
        stats = dict(statistics(run, kind))
        if not stats:
            continue
        time = min(stats, key=lambda seconds: abs(seconds - DAY))
        entry = stats[time]
        dice = entry.get("dice") or {}
        means = {metric: (entry.get(metric) or {}).get("mean") for metric, _ in METRICS}
        cards.append(
            _card(
                f"Analog after {time_name(time)}",
                number(dice.get("mean")),
                f"± {number(dice.get('std'))}",
                f"Dice, {title}",
                _other_metrics(means),
            )
        )
    params = (run.summary or run.best or {}).get("params")
    if params is not None:
        best = run.best or {}
        notes = []
        if best.get("macs") is not None:
            notes.append(f"{best['macs'] / 1e6:,.1f} M multiply-accumulates")
        if best.get("tiles") is not None:
            notes.append(f"{count_text(best['tiles'])} tiles")
        size = f"{params / 1000:,.0f} k" if params >= 10_000 else f"{params:,}"
        cards.append(_card("Network", size, "", "parameters", ", ".join(notes)))
    return f'<div class="cards">{"".join(cards)}</div>' if cards else ""


def _other_metrics(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {number(values.get(metric))}"
        for metric, name in METRICS
        if metric != "dice" and values.get(metric) is not None
    )


def _card(title: str, value: str, spread: str, unit: str, note: str) -> str:
    small = f" <small>{escape(spread)}</small>" if spread else ""
    return (
        f'<div class="card"><span class="title">{escape(title)}</span>'
        f"<b>{escape(value)}{small}</b><span>{escape(unit)}</span><span>{escape(note)}</span></div>"
    )


def drift_table(run: RunFiles) -> str:
    """Digital, and each time: mean, std and 5th percentile chip of every metric."""
    body = []
    digital = (run.summary or {}).get("digital")
    if digital:
        cells = [number(digital.get(metric), 4) for metric, _ in METRICS]
        body.append(row(["digital", *cells]))
    for kind, title in KINDS:
        stats = statistics(run, kind)
        if stats:
            span = len(METRICS) + 1
            body.append(f'<tr class="rule"><td colspan="{span}">analog, {escape(title)}</td></tr>')
        for time, entry in stats:
            cells = []
            for metric, _ in METRICS:
                value = entry.get(metric) or {}
                cells.append(
                    f"{number(value.get('mean'), 4)} ± {number(value.get('std'), 4)} "
                    f"<small>p05 {number(value.get('p05'), 4)}</small>"
                )
            body.append(row([time_name(time), *cells]))
    if not body:
        return ""
    note = (
        f'<p class="note">Mean ± standard deviation over {known(chips_of(run))} programmed chips; '
        "p05 is the 5th percentile chip. Dice and IoU are means over images, pooled IoU counts "
        "all pixels together.</p>"
    )
    avm = _accuracy_variation(run)
    return table(["", *(name for _, name in METRICS)], body) + note + avm


def _accuracy_variation(run: RunFiles) -> str:
    lines = []
    for kind, _ in KINDS:
        stats = dict(statistics(run, kind))
        first, month = stats.get(1.0), stats.get(30 * DAY)
        if first and month and first.get("dice") and month.get("dice"):
            points = 100 * (float(first["dice"]["mean"]) - float(month["dice"]["mean"]))
            lines.append(f"{points:.2f} points {kind}")
    if not lines:
        return ""
    return (
        '<p class="note">Accuracy variation over one month (Dice at 1 s minus Dice at 30 days): '
        f"{', '.join(lines)}.</p>"
    )
