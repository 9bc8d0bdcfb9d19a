"""The front of a run (``pareto.csv``) as plain values, and as a table for the terminal."""

from __future__ import annotations

import csv
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasseg.errors import RunError
from nasseg.records.best import Best

MOST_ROWS = 15
"""Architectures shown of a longer front."""
_WIDTH = 79
_OTHERS = ("day1", "avm", "std", "params", "tiles", "energy_uj", "latency_us")
"""Columns shown beside the objectives, as far as there is room."""
_TEXTS = ("arch_id", "arch")


@dataclass(frozen=True)
class Front:
    """What a search for several objectives kept."""

    rows: tuple[Mapping[str, Any], ...]
    """``arch_id``, ``rank``, ``crowding``, ``knee``, ``arch`` and a value for every score, NaN
    where unknown; by rank, then the best in the first objective first."""
    objectives: tuple[tuple[str, bool], ...]
    """Columns, and whether they are maximised."""
    constraints: tuple[str, ...]
    """As in ``params < 1000000``."""
    reference: Mapping[str, float]
    """Reference point of the hypervolumes."""
    taken: str
    """Hash of the architecture that the run takes."""

    @property
    def first(self) -> tuple[Mapping[str, Any], ...]:
        """The rows that no other one dominates."""
        return tuple(row for row in self.rows if row["rank"] == 0)


def read_front(run: Path) -> Front | None:
    """The front of a run folder; None where its search had one objective, or is not done.

    Raises:
        RunError: ``pareto.csv`` or ``best.json`` is damaged.
    """
    file, best_file = run / "pareto.csv", run / "best.json"
    if not file.exists() or not best_file.exists():
        return None
    try:
        best = Best.read(best_file)
        with file.open(newline="", encoding="utf-8") as handle:
            rows = tuple(_row(row) for row in csv.DictReader(handle))
        return Front(
            rows,
            tuple(_objective(text) for text in best.search["objectives"]),
            tuple(best.search["constraints"]),
            {name: float(value) for name, value in best.search["reference"].items()},
            str(best.arch_id),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise RunError(
            f"{file} (with {best_file.name}) cannot be read: {type(error).__name__}: {error}; "
            "run the search again with another --out"
        ) from None


def _row(row: dict[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {
        key: text if key in _TEXTS else float(text) if text else math.nan
        for key, text in row.items()
    }
    return {**values, "rank": int(row["rank"]), "knee": bool(int(row["knee"]))}


def _objective(text: str) -> tuple[str, bool]:
    direction, _, name = text.partition(" ")
    return name, direction == "maximize"


def value_text(value: float) -> str:
    """A score of any size in few characters; a dash where it is unknown."""
    if not math.isfinite(value):
        return "-"
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.4g}"


def shown_columns(front: Front) -> list[str]:
    """Objectives, constrained columns, and the usual others, as far as any value is known."""
    constrained = [text.split(" ", 1)[0] for text in front.constraints]
    names = [name for name, _ in front.objectives] + constrained + list(_OTHERS)
    return [
        name
        for name in dict.fromkeys(names)
        if any(math.isfinite(row.get(name, math.nan)) for row in front.first)
    ]


def some_of(front: Front, most: int = MOST_ROWS) -> list[Mapping[str, Any]]:
    """At most ``most`` architectures of the front: its ends in every objective, the knee, the one
    taken, and others evenly between; of those with equal objectives one."""
    names = [name for name, _ in front.objectives]
    distinct: dict[tuple[float, ...], Mapping[str, Any]] = {}
    for row in front.first:
        key = tuple(row[name] for name in names)
        if key not in distinct or row["arch_id"] == front.taken:
            distinct[key] = row
    rows = list(distinct.values())
    if len(rows) <= most:
        return rows
    wanted = {i for i, row in enumerate(rows) if row["knee"] or row["arch_id"] == front.taken}
    for name, maximised in front.objectives:
        best = max if maximised else min
        wanted.add(best(range(len(rows)), key=lambda i, name=name: rows[i][name]))  # type: ignore[misc]
    free = [i for i in range(len(rows)) if i not in wanted]
    room = max(0, most - len(wanted))
    wanted |= {free[round((k + 0.5) * len(free) / room - 0.5)] for k in range(room)}
    return [rows[i] for i in sorted(wanted)]


def goals_text(front: Front) -> str:
    """Objectives and constraints in one line."""
    goals = [f"{'maximize' if up else 'minimize'} {name}" for name, up in front.objectives]
    # Without spaces, so that no line ends within one.
    bounds = ", ".join(text.replace(" ", "") for text in front.constraints)
    return ", ".join(goals) + (f"; {bounds}" if bounds else "")


def format_front(front: Front) -> str:
    """The front in at most 80 columns."""
    shown = some_of(front)
    columns: list[str] = []
    widths: list[int] = []
    for name in shown_columns(front):
        width = 2 + max(len(name), *(len(value_text(row[name])) for row in shown))
        must = name in [objective for objective, _ in front.objectives]
        if must or 17 + sum(widths) + width <= _WIDTH:
            columns.append(name)
            widths.append(width)
    lines = [textwrap.fill(f"Pareto front: {goals_text(front)}", _WIDTH, subsequent_indent="  ")]
    lines.append(f"{'architecture':17}" + _cells(columns, widths))
    for row in shown:
        mark = "knee" if row["knee"] else ""
        mark = f"*{mark}" if row["arch_id"] == front.taken else f" {mark}"
        cells = [value_text(row[name]) for name in columns]
        lines.append(f"{row['arch_id']:12}{mark:5}" + _cells(cells, widths))
    count = len(front.first)
    more = f"{len(shown)} of {count}" if count > len(shown) else f"all {count}"
    lines.append(f"{more} that no other dominates; * is taken (all are in pareto.csv)")
    return "\n".join(lines)


def _cells(texts: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(f"{text:>{width}}" for text, width in zip(texts, widths, strict=True))
