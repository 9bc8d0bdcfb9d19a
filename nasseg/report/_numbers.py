"""The numbers of a run: digital, and analog over chips and time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from nasseg.records.best import Best
from nasseg.records.run_files import RunFiles
from nasseg.records.tables import KINDS, by_time, format_plan
from nasseg.report._html import count_text, known, row, table
from nasseg.statistics import DAY, MONTH, share_at_least, spread
from nasseg.text import CLASS_METRICS, number, time_name

_CLASS = {key for key, _ in CLASS_METRICS}
_METRIC_NOTES = (
    "Balanced accuracy, AUC (one class against the rest) and F1 are means over classes.",
    "Dice, IoU and AP (average precision of single nuclei) are means over images, pooled IoU "
    "counts all pixels together.",
)
"""Of classification, of segmentation."""


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


def headline(run: RunFiles) -> str:
    """Cards: digital, analog after a day, what it costs."""
    digital = (run.summary or {}).get("digital") or {}
    main, score = run.main_metric
    cards = []
    if digital:
        cards.append(
            _card("Digital", number(digital.get(main)), "", score, _other_metrics(run, digital))
        )
    for kind, title in (("recalibrated", "recalibrated"), ("uncalibrated", "uncalibrated")):
        stats = dict(statistics(run, kind))
        if not stats:
            continue
        time = min(stats, key=lambda seconds: abs(seconds - DAY))
        entry = stats[time]
        value = entry.get(main) or {}
        means = {metric: (entry.get(metric) or {}).get("mean") for metric, _ in run.shown_metrics}
        cards.append(
            _card(
                f"Analog after {time_name(time)}",
                number(value.get("mean")),
                f"± {number(value.get('std'))}",
                f"{score}, {title}",
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
        cards.append(_card("Network", size, "", "parameters", ", ".join(notes)))
    return f'<div class="cards">{"".join(cards)}</div>' if cards else ""


def _other_metrics(run: RunFiles, values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {number(values.get(metric))}"
        for metric, name in run.shown_metrics
        if metric != run.main_metric[0] and values.get(metric) is not None
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
        cells = [number(digital.get(metric), 4) for metric, _ in run.shown_metrics]
        body.append(row(["digital", *cells]))
    for kind, title in KINDS:
        stats = statistics(run, kind)
        if stats:
            span = len(run.shown_metrics) + 1
            body.append(f'<tr class="rule"><td colspan="{span}">analog, {escape(title)}</td></tr>')
        for time, entry in stats:
            cells = []
            for metric, _ in run.shown_metrics:
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
        f"p05 is the 5th percentile chip. {_METRIC_NOTES[run.main_metric[0] not in _CLASS]}</p>"
    )
    avm = _accuracy_variation(run)
    return table(["", *(name for _, name in run.shown_metrics)], body) + note + avm


def _accuracy_variation(run: RunFiles) -> str:
    lines = []
    main, score = run.main_metric
    for kind, _ in KINDS:
        stats = dict(statistics(run, kind))
        first, month = stats.get(1.0), stats.get(MONTH)
        if first and month and first.get(main) and month.get(main):
            points = 100 * (float(first[main]["mean"]) - float(month[main]["mean"]))
            lines.append(f"{points:.2f} points {kind}")
    if not lines:
        return ""
    return (
        f'<p class="note">Accuracy variation over one month ({score} at 1 s minus {score} at 30 '
        f"days): {', '.join(lines)}.</p>"
    )


def chips_table(run: RunFiles) -> str:
    """Share of the chips above several bounds of the score, and the worst chip, by time."""
    main, score = run.main_metric
    if not run.drift:
        return ""
    values = [entry.scores[main] for entry in run.drift if main in entry.scores]
    if not values:
        return ""
    # Bounds where chips differ: from the worst chip to the best, on round numbers.
    low, high = min(values), max(values)
    step = next((s for s in (0.002, 0.005, 0.01, 0.02, 0.05) if (high - low) / s <= 6), 0.1)
    bounds = [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)][-6:]
    body = []
    for recalibrated, title in ((True, "recalibrated"), (False, "uncalibrated")):
        for time in run.drift.times:
            scores = run.drift.values(main, recalibrated=recalibrated, time_s=time)
            if scores:
                shares = [f"{share_at_least(scores, bound):.0%}" for bound in bounds]
                body.append(row([f"{time_name(time)}, {title}", number(min(scores), 4), *shares]))
    head = ["", "worst chip", *(f"{score} ≥ {bound:.3f}" for bound in bounds)]
    return "<h3>Share of the chips</h3>" + table(head, body)


def sweep_table(run: RunFiles) -> str:
    """The score after a day for memories with less and with more noise."""
    if not run.sweep:
        return ""
    main, score = run.main_metric
    scales = {row.noise_scale for row in run.sweep if row.noise_scale is not None}
    if DAY in run.drift.times:
        scales.add(1.0)
    body = []
    for scale in sorted(scales):
        cells = [f"{scale:g} x"]
        for recalibrated in (True, False):
            scores = run.sweep.values(main, recalibrated=recalibrated, noise_scale=scale)
            if scale == 1.0:
                scores += run.drift.values(main, recalibrated=recalibrated, time_s=DAY)
            if not scores:
                cells.append("-")
                continue
            over = spread(scores)
            cells.append(
                f"{number(over.mean, 4)} ± {number(over.std, 4)} <small>{len(scores)} chips</small>"
            )
        body.append(row(cells))
    return (
        "<h3>Noisier memory</h3>"
        + table(["noise and drift of the memory", "recalibrated", "uncalibrated"], body)
        + f'<p class="note">{score} after a day where programming noise, read noise and drift are '
        "multiples of the memory's own.</p>"
    )


def plan_list(run: RunFiles) -> str:
    """The refresh plan, if one was made."""
    if run.plan is None:
        return ""
    lines = format_plan(run.plan).splitlines()
    return f"<h3>Refresh plan</h3><pre>{escape(chr(10).join(lines))}</pre>"


def sensitivity_table(run: RunFiles) -> str:
    """What each layer costs where it alone is analog, if that was measured."""
    if run.sensitivity is None:
        return ""
    kept = set(run.sensitivity.get("digital_layers") or [])
    layers = sorted(
        run.sensitivity.get("layers") or [], key=lambda entry: -float(entry.get("loss", 0))
    )
    body = [
        row(
            [
                f"<code>{escape(str(entry.get('name')))}</code>",
                count_text(entry.get("macs")),
                number(entry.get("loss"), 4),
                "digital" if entry.get("name") in kept else "analog",
            ]
        )
        for entry in layers
    ]
    return "<h3>Sensitivity of the layers</h3>" + table(
        ["layer", "MACs", f"{run.main_metric[1]} lost where it alone is analog", "runs"],
        body,
        (0, 3),
    )
