"""The section of the search: its course, its front, and what it predicted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nasseg.records.best import Best
from nasseg.records.run_files import RunFiles
from nasseg.report.markup import in_words
from nasseg.report.sections.base import Picture, Section, lost
from nasseg.report.sections.front import draw_front, front_values
from nasseg.report.style import CYCLE, MUTED, new_figure, strip_axes
from nasseg.text import number


def draw_search(run: RunFiles) -> Figure | None:
    """Best and mean score of each generation (of a supernet: epoch), a colour for each search."""
    history = [
        entry
        for entry in (run.best or Best()).history
        if isinstance(entry.get("best"), (int, float))
    ]
    if not history:
        return None
    if run.best is not None and run.best.search.get("rungs"):
        return _draw_rungs(run, run.best)
    figure = new_figure(9.6, 3.0)
    ax = figure.subplots()
    supernet = run.setting("search.strategy") == "darts"
    runs = sorted({int(entry.get("run", 0)) for entry in history})
    for place in runs:
        own = [entry for entry in history if int(entry.get("run", 0)) == place]
        own.sort(key=lambda entry: int(entry["generation"]))
        x = [int(entry["generation"]) for entry in own]
        colour = CYCLE[place % len(CYCLE)]
        ax.plot(x, [e["best"] for e in own], color=colour, label=_series_name(place, supernet))
        mean = [math.nan if e.get("mean") is None else float(e["mean"]) for e in own]
        ax.plot(x, mean, color=colour, alpha=0.55, linewidth=1.1, linestyle="--")
    ax.plot(
        [],
        [],
        color=MUTED,
        linewidth=1.1,
        linestyle="--",
        label="mean of three drawn" if supernet else "mean of the population",
    )
    best = run.best or Best()
    goals = best.objectives
    if goals:
        title = f"first objective: {goals[0]}"
    elif supernet:
        title = f"validation {run.main_metric[1]} with the shared weights"
    elif best.measured:
        title = f"measured {run.measured_title} after a day, short training"
    else:
        images = best.surrogate.get("images")
        title = f"predicted {run.predicted_title} after a day{f', for {images}' if images else ''}"
    ax.set_title(title)
    ax.set_xlabel("epoch" if supernet else "generation")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    strip_axes(ax)
    figure.legend(loc="outside right center")
    return figure


def _draw_rungs(run: RunFiles, best: Best) -> Figure:
    """The score of each candidate of a search within a budget over the epochs it was trained."""
    figure = new_figure(9.6, 3.4)
    ax = figure.subplots()
    epochs = [int(rung["epochs"]) for rung in best.search["rungs"]]
    courses = best.search.get("candidates") or []
    for course in courses:
        scores = [float(score) for score in course["scores"]]
        won = course["arch_id"] == best.arch_id
        ax.plot(
            epochs[: len(scores)],
            scores,
            marker="o",
            markersize=4 if won else 3,
            color=CYCLE[0] if won else MUTED,
            alpha=1.0 if won else 0.45,
            linewidth=1.8 if won else 0.9,
            zorder=3 if won else 2,
            label="taken" if won else None,
        )
    ax.plot([], [], color=MUTED, marker="o", markersize=3, label="other candidates")
    ax.set_xscale("log", base=10)
    ax.set_xticks(epochs, [str(number) for number in epochs])
    ax.xaxis.minorticks_off()
    ax.set_xlabel("epochs trained (the last: retrained, a day on chips)")
    ax.set_title(f"{run.measured_title} on training images held out")
    strip_axes(ax)
    figure.legend(loc="outside right center")
    return figure


def _series_name(place: int, supernet: bool) -> str:
    return "most probable" if supernet else f"search {place + 1}: best"


def search_facts(run: RunFiles) -> list[tuple[str, str]]:
    """What the search did and predicted."""
    best = run.best or Best()
    facts: list[tuple[str, str]] = []
    for scores, metric, title in (
        (
            best.predicted,
            run.predicted_title,
            f"predicted for the winner, for {best.surrogate['images']}"
            if best.surrogate.get("images")
            else "predicted for the winner",
        ),
        (
            best.measured,
            run.measured_title,
            "measured of the winner, after short training"
            + (", on training images held out" if "rungs" in best.search else ""),
        ),
    ):
        if not scores:
            continue
        parts = [
            f"{name} {number(scores.get(score), digits)}"
            for score, name, digits in (
                ("day1", f"{metric} after a day", 3),
                ("avm", "one-month variation (points)", 2),
                ("std", "chip-to-chip std", 3),
            )
            if scores.get(score) is not None
        ]
        facts.append((title, ", ".join(parts)))
    interval = best.interval
    if interval.get("low") is not None:
        text = f"{number(interval['low'], 3)} to {number(interval.get('high'), 3)}"
        if interval.get("outside"):
            text += "; unlike every architecture that was measured, so a guess"
        if interval.get("held") is not None:
            text += f" (such intervals held {number(100 * interval['held'], 0)} % of held-out ones)"
        facts.append(("interval of 90 %", text))
    surrogate = best.surrogate
    if surrogate.get("n") is not None:
        text = f"fitted to {in_words(surrogate['n'])} measured architectures"
        if taus := in_words({k: v for k, v in (surrogate.get("tau") or {}).items() if v}):
            text += f"; cross-validated Kendall tau: {taus}"
        facts.append(("surrogate", text))
    for key, name in (
        ("why", "why this one"),
        ("settings", "settings found with it"),
        ("runs", "evolutions"),
        ("budget", "budget"),
    ):
        if text := in_words(best.search.get(key)):
            facts.append((name, text))
    return facts


class SearchSection(Section):
    """The search of a run; of one for several objectives, its front."""

    title = "Search"
    template = "search.html.j2"
    files = ("pareto.csv",)
    pictures = (
        Picture(
            "front",
            "the Pareto front of the search, and its hypervolume over generations",
            draw_front,
        ),
        Picture("search", "best and mean predicted score over generations", draw_search),
    )

    def values(self, run: RunFiles) -> Mapping[str, Any]:
        """The front and the facts; where there are none, why."""
        return {
            "front": front_values(run),
            "facts": search_facts(run),
            "given": run.best is not None,
            "unknown": lost(run, "best.json"),
        }
