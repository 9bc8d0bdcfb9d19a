"""Architectures that a search for several objectives kept: ``pareto.csv``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasseg.errors import RunError
from nasseg.files.readers import csv_text, parse_json, read_csv
from nasseg.records.best import Best

_FIRST, _LAST = ("arch_id", "rank", "crowding", "knee"), ("arch",)
"""Columns before and after those of the scores."""


@dataclass(frozen=True)
class FrontRow:
    """One architecture that the runs kept."""

    arch_id: str
    """Its hash."""
    rank: int
    """0 = no other one of the table dominates it; 1 = only those of rank 0; and so on."""
    crowding: float
    """Crowding distance on its front; infinite at the ends."""
    knee: bool
    """True for the knee of the front."""
    scores: dict[str, float]
    """All columns of the scores; NaN where unknown. Where no run asked for a column, it is
    counted for the front, rank 0."""
    arch: dict[str, Any]
    """The architecture, canonical."""


@dataclass(frozen=True)
class Front:
    """What a search for several objectives kept."""

    rows: tuple[FrontRow, ...]
    """By rank, then the best in the first objective first."""
    objectives: tuple[tuple[str, bool], ...]
    """Columns, and whether they are maximised."""
    constraints: tuple[str, ...]
    """As in ``params < 1000000``."""
    reference: Mapping[str, float]
    """Reference point of the hypervolumes."""
    taken: str
    """Hash of the architecture that the run takes."""

    @property
    def first(self) -> tuple[FrontRow, ...]:
        """The rows that no other one dominates."""
        return tuple(row for row in self.rows if row.rank == 0)


def read_front(run: Path) -> Front | None:
    """Return the front of a run folder; None where its search had one objective or is not done.

    Raises:
        RunError: ``pareto.csv`` or ``best.json`` is damaged.
    """
    file, best_file = run / "pareto.csv", run / "best.json"
    if not file.exists() or not best_file.exists():
        return None
    try:
        best = Best.read(best_file)
        rows = tuple(_row(row) for _, row in read_csv(file))
        return Front(
            rows,
            tuple(_objective(text) for text in best.search["objectives"]),
            tuple(best.search["constraints"]),
            {name: float(value) for name, value in best.search["reference"].items()},
            str(best.arch_id),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RunError) as error:
        raise RunError(
            f"{file} (with {best_file.name}) cannot be read: {error!r}; "
            "run the search again with another --out"
        ) from None


def _row(row: Mapping[Any, Any]) -> FrontRow:
    facts = (*_FIRST, *_LAST)
    return FrontRow(
        arch_id=row["arch_id"],
        rank=int(row["rank"]),
        crowding=float(row["crowding"]),
        knee=bool(int(row["knee"])),
        scores={
            name: float(text) if text else math.nan
            for name, text in row.items()
            if name not in facts
        },
        arch=dict(parse_json(row["arch"])),
    )


def _objective(text: str) -> tuple[str, bool]:
    direction, _, name = text.partition(" ")
    return name, direction == "maximize"


def front_csv(rows: Sequence[FrontRow]) -> str:
    """Return rows, all with the same scores, as the text of ``pareto.csv``.

    Unknown scores are empty, ``arch`` is JSON.
    """
    columns = tuple(rows[0].scores) if rows else ()
    cells = []
    for row in rows:
        scores = ["" if math.isnan(row.scores[name]) else row.scores[name] for name in columns]
        arch = json.dumps(row.arch)
        cells.append([row.arch_id, row.rank, row.crowding, int(row.knee), *scores, arch])
    return csv_text((*_FIRST, *columns, *_LAST), cells)
