"""Measured chips: ``drift.csv``, and ``sweep.csv`` of memories with less and with more noise.

Where each chip was measured on a share of the images (``drift.images``), ``drift_parts.csv`` has
what was measured, and ``drift.csv`` what follows from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasseg import statistics
from nasseg.errors import RunError
from nasseg.files.readers import read_csv
from nasseg.io import write_csv
from nasseg.statistics import FACTS, Spread, spread

_TRUE, _FALSE = ("true", "1"), ("false", "0")


@dataclass(frozen=True, slots=True)
class DriftRow:
    """One evaluation of one programmed chip."""

    chip: int
    time_s: float
    """Seconds after programming."""
    recalibrated: bool
    """True if BatchNorm statistics were re-estimated on the drifted chip."""
    scores: dict[str, float]
    """Metric to value."""
    noise_scale: float | None = None
    """Noise and drift as a multiple of those of the memory; None: the memory's own."""
    part: int | None = None
    """Part of the images; None: all of them, or an estimate for all."""
    images: int | None = None
    """Number of its images."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> DriftRow:
        """Return a row of :func:`nasseg.analog.chip_evaluator`, typed."""
        return cls(
            row["chip"],
            row["time_s"],
            row["recalibrated"],
            {name: value for name, value in row.items() if name not in FACTS},
            row.get("noise_scale"),
            row.get("part"),
            row.get("images"),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the columns of the file."""
        scale = {} if self.noise_scale is None else {"noise_scale": self.noise_scale}
        facts = {"chip": self.chip, "time_s": self.time_s, "recalibrated": self.recalibrated}
        part = {} if self.part is None else {"part": self.part, "images": self.images}
        return {**scale, **facts, **part, **self.scores}


@dataclass(frozen=True)
class DriftTable:
    """Rows of measured chips, in the order in which they were measured."""

    rows: tuple[DriftRow, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> DriftTable:
        """Return the table of rows as :func:`nasseg.analog.chip_evaluator` gives them."""
        return cls(tuple(DriftRow.of(row) for row in rows))

    @classmethod
    def read(cls, path: Path, *, missing_ok: bool = False) -> DriftTable:
        """Read a table.

        Args:
            path: ``drift.csv``, ``drift_parts.csv`` or ``sweep.csv``.
            missing_ok: give an empty table where there is no file.

        Raises:
            RunError: a cell is empty or has no such value; the message names file and row.
            FileNotFoundError: there is no file.
        """
        if missing_ok and not path.exists():
            return cls()
        fix = "delete it to measure its chips again; the networks are kept"
        table = read_csv(path, error=RunError, fix=fix)
        try:
            return cls(tuple(_rows([cells for _, cells in table])))
        except ValueError as error:
            raise RunError(f"{path} cannot be read: {error}; {fix}") from None

    def write(self, path: Path) -> None:
        """Write the table atomically."""
        write_csv(path, self.to_rows())

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the rows as plain mappings of the file's columns."""
        return [row.to_dict() for row in self.rows]

    def __iter__(self) -> Iterator[DriftRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __add__(self, rows: Iterable[Mapping[str, Any]]) -> DriftTable:
        return DriftTable((*self.rows, *DriftTable.of(rows)))

    @property
    def chips(self) -> frozenset[int]:
        """Numbers of the chips measured."""
        return frozenset(row.chip for row in self.rows)

    @property
    def times(self) -> list[float]:
        """Seconds after programming, rising."""
        return sorted({row.time_s for row in self.rows})

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in the order of the file."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.scores))

    def complete(self, rows_each: int, reference: int = 0) -> DriftTable:
        """Return the chips that have so many rows; a chip that was interrupted is left out.

        ``reference``: rows of the network without noise, whose number is below 0.
        """
        counts: dict[int, int] = {}
        for row in self.rows:
            counts[row.chip] = counts.get(row.chip, 0) + 1
        return DriftTable(
            tuple(
                row
                for row in self.rows
                if counts[row.chip] == (reference if row.chip < 0 else rows_each)
            )
        )

    def values(
        self,
        metric: str,
        *,
        recalibrated: bool,
        time_s: float | None = None,
        noise_scale: float | None = None,
    ) -> list[float]:
        """Return a metric of the chips in one state; of every age without ``time_s``."""
        return [
            row.scores[metric]
            for row in self.rows
            if row.recalibrated is recalibrated
            and (time_s is None or row.time_s == time_s)
            and (noise_scale is None or row.noise_scale == noise_scale)
            and metric in row.scores
        ]

    def by_time(self, metric: str, *, recalibrated: bool) -> list[tuple[float, Spread]]:
        """Return the statistics over chips at each time at which the metric is known, rising."""
        found = [
            (time_s, self.values(metric, recalibrated=recalibrated, time_s=time_s))
            for time_s in self.times
        ]
        return [(time_s, spread(values)) for time_s, values in found if values]

    def summary(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the statistics of every metric, as ``summary.json`` has them."""
        return statistics.summarise(self.to_rows())


def _rows(table: Sequence[dict[str | None, Any]]) -> Iterator[DriftRow]:
    """Convert the rows of the file.

    Cells of a metric that is empty in the first rows were measured by a version without it.
    """
    measured: set[str] = set()
    later = {
        name
        for cells in table
        for name, text in cells.items()
        if name is not None and name not in FACTS and isinstance(text, str) and text.strip()
    }
    for number, cells in enumerate(table, 2):
        own = {
            name: text
            for name, text in cells.items()
            if name not in later or name in measured or text is None or text.strip()
        }
        measured |= later & own.keys()
        yield _row(own, number)


def _row(cells: dict[str | None, Any], number: int) -> DriftRow:
    """Convert a row of the file; ``number`` counts from the header, which is 1."""

    def convert(name: str, kind: Callable[[str], Any], what: str) -> Any:
        text = cells.get(name)
        if text is None or not text.strip():
            raise ValueError(f"row {number}: {name} is {'missing' if text is None else 'empty'}")
        try:
            return kind(text.strip())
        except ValueError:
            raise ValueError(f"row {number}: {name} is {text!r}, not {what}") from None

    if None in cells:
        raise ValueError(f"row {number} has more cells than the header")
    scale = convert("noise_scale", float, "a number") if "noise_scale" in cells else None
    part, images = (
        convert(name, int, "a whole number") if name in cells else None
        for name in ("part", "images")
    )
    return DriftRow(
        chip=convert("chip", int, "a whole number"),
        time_s=convert("time_s", float, "a number"),
        recalibrated=convert("recalibrated", _boolean, "True or False"),
        scores={
            name: convert(name, float, "a number")
            for name in cells
            if name is not None and name not in FACTS
        },
        noise_scale=scale,
        part=part,
        images=images,
    )


def _boolean(text: str) -> bool:
    """Convert a truth value as this program, pandas or a spreadsheet writes it."""
    if text.lower() not in (*_TRUE, *_FALSE):
        raise ValueError(text)
    return text.lower() in _TRUE
