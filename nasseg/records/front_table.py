"""Rows and columns of a front that are shown, and the front as a table for the terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from nasseg.records.pareto import Front, FrontRow
from nasseg.text import value_text

MOST_ROWS = 15
"""Architectures shown of a longer front."""
_WIDTH = 79
_OTHERS = ("day1", "avm", "std", "params", "tiles", "energy_uj", "latency_us")
"""Columns shown beside the objectives, as far as there is room."""


def shown_columns(front: Front) -> list[str]:
    """Return objectives, constrained columns and usual others of which any value is known."""
    constrained = [text.split(" ", 1)[0] for text in front.constraints]
    names = [name for name, _ in front.objectives] + constrained + list(_OTHERS)
    return [
        name
        for name in dict.fromkeys(names)
        if any(math.isfinite(row.scores.get(name, math.nan)) for row in front.first)
    ]


def some_of(front: Front, most: int = MOST_ROWS) -> list[FrontRow]:
    """Return at most ``most`` architectures of the front, one of those with equal objectives.

    They are its ends in every objective, the knee, the one taken, and others evenly between.
    """
    names = [name for name, _ in front.objectives]
    distinct: dict[tuple[float, ...], FrontRow] = {}
    for row in front.first:
        key = tuple(row.scores[name] for name in names)
        if key not in distinct or row.arch_id == front.taken:
            distinct[key] = row
    rows = list(distinct.values())
    if len(rows) <= most:
        return rows
    wanted = {i for i, row in enumerate(rows) if row.knee or row.arch_id == front.taken}
    for name, maximised in front.objectives:
        best = max if maximised else min
        wanted.add(best(range(len(rows)), key=lambda i, name=name: rows[i].scores[name]))  # type: ignore[misc]
    free = [i for i in range(len(rows)) if i not in wanted]
    room = max(0, most - len(wanted))
    wanted |= {free[round((k + 0.5) * len(free) / room - 0.5)] for k in range(room)}
    return [rows[i] for i in sorted(wanted)]


def goals_text(front: Front) -> str:
    """Return objectives and constraints in one line."""
    goals = [f"{'maximize' if up else 'minimize'} {name}" for name, up in front.objectives]
    # Without spaces, so that no line ends within one.
    bounds = ", ".join(text.replace(" ", "") for text in front.constraints)
    return ", ".join(goals) + (f"; {bounds}" if bounds else "")


def format_front(front: Front) -> str:
    """Return the front in at most 80 columns."""
    shown = some_of(front)
    columns: list[str] = []
    widths: list[int] = []
    for name in shown_columns(front):
        width = 2 + max(len(name), *(len(value_text(row.scores[name])) for row in shown))
        must = name in [objective for objective, _ in front.objectives]
        if must or 17 + sum(widths) + width <= _WIDTH:
            columns.append(name)
            widths.append(width)
    lines = [textwrap.fill(f"Pareto front: {goals_text(front)}", _WIDTH, subsequent_indent="  ")]
    lines.append(f"{'architecture':17}" + _cells(columns, widths))
    for row in shown:
        mark = "knee" if row.knee else ""
        mark = f"*{mark}" if row.arch_id == front.taken else f" {mark}"
        cells = [value_text(row.scores[name]) for name in columns]
        lines.append(f"{row.arch_id:12}{mark:5}" + _cells(cells, widths))
    count = len(front.first)
    more = f"{len(shown)} of {count}" if count > len(shown) else f"all {count}"
    lines.append(f"{more} that no other dominates; * is taken (all are in pareto.csv)")
    return "\n".join(lines)


def _cells(texts: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(f"{text:>{width}}" for text, width in zip(texts, widths, strict=True))
